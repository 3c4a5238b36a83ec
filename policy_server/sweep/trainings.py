"""The training configurations of a sweep: common settings, then what each run changes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.configuration import build, to_plain
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.recording import read_dataset_info
from policy_server.training.configuration import TrainingConfig, policy_spec

TRAINING_FILE = "training.yaml"
_OWN = ("name", "output", "seed")


def merged(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """Later settings replace earlier ones, key by key at every depth."""
    result: dict[str, Any] = {}
    for each in settings:
        for key, value in each.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merged(result[key], value) if both else value
    return result


def make_training(name: str, output: Path, seed: int, *settings: Mapping[str, Any]) -> TrainingConfig:
    """One run, in the folder ``output``.

    Raises:
        ConfigurationError: an unknown or ill-fitting setting, or one that the sweep itself sets.
    """
    values = merged(*settings)
    for key in _OWN:
        if key in values:
            raise ConfigurationError(f"{name}: '{key}' is set by the sweep: leave it out")
    return build(TrainingConfig, {**values, "name": name, "output": output, "seed": seed}, name)


def write_training(config: TrainingConfig) -> Path:
    """Write the configuration into the run's folder, as ``policy_server.train`` reads it; returns the file."""
    config.output.mkdir(parents=True, exist_ok=True)
    file = config.output / TRAINING_FILE
    file.write_text(yaml.safe_dump(to_plain(config), sort_keys=False, width=120), encoding="utf-8")
    return file


def make_policy(config: TrainingConfig) -> DiffusionPolicy:
    """The untrained networks of a run.

    Raises:
        ConfigurationError: settings out of range, or that do not fit the dataset.
        DatasetError: no such dataset.
    """
    return DiffusionPolicy(policy_spec(config, read_dataset_info(config.dataset)), config.model)


def count_parameters(config: TrainingConfig) -> int:
    """Trained numbers of a run's networks. Raises as ``make_policy``."""
    return sum(parameter.numel() for parameter in make_policy(config).parameters())
