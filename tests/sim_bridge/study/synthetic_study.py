"""Studies, cells and results without any training."""

import sys
from pathlib import Path
from typing import Any

import pytest

from policy_server.runtime.bundle import write_manifest
from policy_server.runtime.configuration import build
from sim_bridge.study.configuration import StudyConfig
from sim_bridge.study.result import CellResult
from tests.sim_bridge.study.fake_commands import BUNDLE_VARIABLE
from tests.synthetic_bundle import synthetic_spec, write_synthetic_bundle

ROOT = Path(__file__).parents[3]
FAKE_COMMANDS = Path(__file__).with_name("fake_commands.py")


def study(**changes: Any) -> StudyConfig:
    """Two tasks, two contexts, two methods; ``changes`` replace keys."""
    values: dict[str, Any] = {
        "name": "trial",
        "title": "A trial",
        "output": "runs/trial",
        "results": "results",
        "tasks": {
            "reach_cued": {"dataset": "data/reach_cued", "demonstrations": 100, "stride_ticks": 4},
            "push_to_goal": {"dataset": "data/push_to_goal", "demonstrations": 60, "stride_ticks": 2, "steps": 50},
        },
        "base": {"features": True, "steps": 30, "model": {"unet": {"widths": [16, 32], "kernel": 5}}},
        "methods": {"naive": {}, "vht": {"training": {"history": {"curriculum": "progressive"}}}},
        "evaluation": {"episodes": 4, "seed": 100},
        "grids": [{"task": ["reach_cued", "push_to_goal"], "context_length": [2, 8]}],
    }
    return build(StudyConfig, values | changes, "trial.yaml")


def result(**changes: Any) -> CellResult:
    """A finished cell of reach_cued; ``changes`` replace fields."""
    values: dict[str, Any] = {
        "cell": "reach_cued-c8",
        "hash": "0123456789ab",
        "task": "reach_cued",
        "context_length": 8,
        "stride_ticks": 4,
        "demonstrations": 100,
        "regime": "N",
        "method": "naive",
        "backbone": "unet_attention",
        "seed": 0,
        "observations": "features",
        "steps": 1000,
        "final_loss": 0.125,
        "bundle_mb": 3.5,
        "bundle_hash": "cafe",
        "evaluation_seed": 0,
        "outcomes": "1101",
        "completed": "1111",
        "step_s": 0.1,
        "train_s": 100.0,
        "export_s": 8.0,
        "evaluate_s": 12.0,
        "versions": "commit cafe, python 3.11",
        "machine": "a machine",
        "finished": "2026-01-01T00:00:00+00:00",
    }
    return CellResult(**(values | changes))


def fake_commands(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let cells run ``fake_commands.py`` instead of training, exporting and evaluating."""
    bundle = write_synthetic_bundle(folder / "synthetic_bundle", cameras=())
    write_manifest(bundle, synthetic_spec(cameras=()), {"steps": 30, "config": {"seed": 0}})
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE_COMMANDS}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr("sim_bridge.study.cell_run.sys.executable", str(python))
    monkeypatch.setenv(BUNDLE_VARIABLE, str(bundle))
