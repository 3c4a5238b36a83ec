"""Checkpoints: written whole or not at all, loaded without unpickling."""

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime import configuration
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.whole_file import whole_file
from policy_server.training.configuration import TrainingConfig

CHECKPOINT_FILE = "checkpoint.pt"
BEST_FILE = "best.pt"


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a run needs to go on, and that the export needs to read it.

    ``average`` holds the moving average of the weights; ``batches_per_step`` is over all processes; ``episodes`` is the fingerprint
    of what it is trained on; ``pending_log`` are the results since the last line of the loss curve.
    Of a run with ``lora``, ``model`` holds the base with the adapter beside it, ``adapter`` the moving average of the adapter's
    tensors, and ``average`` the base with that merged in: a policy like any other.
    """

    step: int
    config: TrainingConfig
    spec: PolicySpec
    model: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Any]
    batches_per_step: int
    episodes: str
    pending_log: list[list[float]]
    adapter: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(folder: Path, checkpoint: Checkpoint, file: str = CHECKPOINT_FILE) -> None:
    content = dict(vars(checkpoint))
    content["config"] = configuration.to_plain(checkpoint.config)
    content["spec"] = configuration.to_plain(checkpoint.spec)
    with whole_file(folder / file) as temporary:
        torch.save(content, temporary)


def load_checkpoint(folder: Path, file: str = CHECKPOINT_FILE) -> Checkpoint | None:
    """The checkpoint in ``folder``, or None when there is none.

    Raises:
        ConfigurationError: it is damaged, or of another version.
    """
    path = folder / file
    if not path.exists():
        return None
    content = read_state(path)
    try:
        content["config"] = configuration.build(TrainingConfig, content["config"], str(path))
        content["spec"] = configuration.build(PolicySpec, content["spec"], str(path))
        return Checkpoint(**content)
    except (KeyError, TypeError, ConfigurationError) as error:
        raise ConfigurationError(
            f"checkpoint '{path}' is of another version ({error}): train again in another folder"
        ) from None


def read_state(file: Path) -> Any:
    """What ``torch.save`` wrote, onto the processor and without unpickling code. Raises ConfigurationError when it is damaged."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigurationError(
            f"checkpoint '{file}' cannot be read ({reason}): restore it, or delete it to begin anew"
        ) from None


def load_start(policy: DiffusionPolicy, run: Path, which: Literal["best", "last"] = "last") -> None:
    """Put the averaged weights of the run in folder ``run`` into ``policy``, with its scaling, for which they were learned.

    Raises:
        ConfigurationError: there is no such run, or its networks are of another form.
    """
    checkpoint = load_checkpoint(run, BEST_FILE if which == "best" else CHECKPOINT_FILE)
    if checkpoint is None:
        if which == "best":
            raise ConfigurationError(
                f"start_checkpoint=best: no {BEST_FILE} in '{run}': leave it out to start from the last"
            )
        raise ConfigurationError(f"start_from: no checkpoint in '{run}': give the folder of a training run")
    try:
        policy.load_state_dict(checkpoint.average)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ConfigurationError(
            f"start_from: the run in '{run}' has other networks ({reason}): give model, cameras and chunk as it was trained with"
        ) from None


def choose_checkpoint(folder: Path, which: Literal["best", "last"] | None = None) -> Checkpoint:
    """The checkpoint that did best in validation rollouts, or the last one; None takes the best where there is one.

    Raises:
        ConfigurationError: there is none.
    """
    last = load_checkpoint(folder)
    if last is None:
        raise ConfigurationError(f"no checkpoint in '{folder}': train first with python -m policy_server.train")
    if which == "last":
        return last
    best = load_checkpoint(folder, BEST_FILE)
    if best is None and which == "best":
        raise ConfigurationError(
            f"no {BEST_FILE} in '{folder}': train with validation.every, or export the last checkpoint"
        )
    return best or last
