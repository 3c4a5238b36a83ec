"""Runs that are enough to be named, and the benchmarks' own modules."""

import dataclasses
import importlib
from pathlib import Path
from types import ModuleType

import pytest

from policy_server.training.checkpoint import Checkpoint, save_checkpoint
from policy_server.training.configuration import DistillationConfig, policy_spec
from tests.small_policy import INFO, small_config


def module_of_benchmarks(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """A file of ``benchmarks/``, which are started as scripts."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module(name)


def write_run(folder: Path, task: str = "press_count", student_steps: int = 0) -> Path:
    """A run without weights: enough to be named."""
    config = small_config(folder, folder, sampling_steps=1)
    if student_steps:
        config = dataclasses.replace(config, distill=DistillationConfig(folder, student_steps=student_steps))
    spec = policy_spec(config, dataclasses.replace(INFO, task=task))
    save_checkpoint(folder, Checkpoint(7, config, spec, {}, {}, {}, 1, "", []))
    return folder
