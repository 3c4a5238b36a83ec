"""Checkpoints: written whole or not at all, loaded without unpickling."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from policy_server.runtime import configuration
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.manifest import PolicySpec
from policy_server.training.configuration import TrainingConfig

CHECKPOINT_FILE = "checkpoint.pt"


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a run needs to go on, and that the export needs to read it."""

    step: int
    config: TrainingConfig
    spec: PolicySpec
    model: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{CHECKPOINT_FILE}.tmp"
    content = {
        "step": checkpoint.step,
        "config": configuration.to_plain(checkpoint.config),
        "spec": configuration.to_plain(checkpoint.spec),
        "model": checkpoint.model,
        "average": checkpoint.average,
        "optimizer": checkpoint.optimizer,
    }
    torch.save(content, temporary)
    os.replace(temporary, folder / CHECKPOINT_FILE)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint in ``folder``, or None when there is none. Raises ConfigurationError when it is of another version."""
    file = folder / CHECKPOINT_FILE
    if not file.exists():
        return None
    content = torch.load(file, map_location="cpu", weights_only=True)
    try:
        config = configuration.build(TrainingConfig, content["config"], str(file))
        spec = configuration.build(PolicySpec, content["spec"], str(file))
    except (KeyError, ConfigurationError) as error:
        raise ConfigurationError(
            f"checkpoint '{file}' is of another version ({error}): train again in another folder"
        ) from None
    return Checkpoint(content["step"], config, spec, content["model"], content["average"], content["optimizer"])
