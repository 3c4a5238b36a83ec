"""Runs small enough to teach in a test: a teacher, and students that start from it."""

import dataclasses
from pathlib import Path

from policy_server.training.configuration import DistillationConfig, TrainingConfig, policy_spec
from policy_server.training.episodes import load_episodes
from policy_server.training.trainer import Trainer
from tests.small_policy import INFO, small_config, write_small_dataset

FEATURES_ONLY = {"features": True, "cameras": {}}


def trainer(config: TrainingConfig) -> Trainer:
    spec = policy_spec(config, INFO)
    return Trainer(config, spec, load_episodes(config.dataset, spec, limit=config.episodes))


def take_steps(run: Trainer, count: int) -> None:
    """So many steps and a checkpoint, without the rest of a run."""
    for _ in range(count):
        run.train_step([run.reader.read(run.step, number) for number in range(run.config.accumulate)])
    run.save()


def trained_teacher(folder: Path, **settings: object) -> TrainingConfig:
    config = small_config(write_small_dataset(folder / "data"), folder / "teacher", steps=4, **settings)
    take_steps(trainer(config), 1)
    return config


def student_of(teacher: TrainingConfig, **changes: object) -> TrainingConfig:
    settings: dict[str, object] = {
        "output": teacher.output.parent / "student",
        "distill": DistillationConfig(teacher.output, teacher_steps=3, student_steps=2),
        "sampling_steps": 1,
        "seed": 5,
    }
    return dataclasses.replace(teacher, **(settings | changes))  # type: ignore[arg-type]
