"""Runs small enough to tune in a test: a base, and trainings that start from it."""

import dataclasses
from pathlib import Path

from policy_server.training.configuration import LoraSettings, OptimizerConfig, TrainingConfig, policy_spec
from policy_server.training.episodes import load_episodes
from policy_server.training.trainer import Trainer
from tests.small_policy import INFO, small_config

FEATURES_ONLY = {"features": True, "cameras": {}}


def trainer_of(config: TrainingConfig) -> Trainer:
    spec = policy_spec(config, INFO)
    return Trainer(config, spec, load_episodes(config.dataset, spec, limit=config.episodes))


def train_base(dataset: Path, output: Path, **changes: object) -> TrainingConfig:
    """A run of a few steps, left in ``output``."""
    config = small_config(dataset, output, **{"steps": 4, **FEATURES_ONLY, **changes})
    trainer_of(config).run()
    return config


def lora_config(base: TrainingConfig, output: Path, **changes: object) -> TrainingConfig:
    settings: dict[str, object] = {
        "output": output,
        "start_from": base.output,
        "lora": LoraSettings(2, 4.0, ("attention", "conv")),
        "optimizer": OptimizerConfig(learning_rate=3e-3, warmup_steps=2),
        "episodes": 2,
        "seed": 1,
        "steps": 6,
    }
    return dataclasses.replace(base, **(settings | changes))  # type: ignore[arg-type]
