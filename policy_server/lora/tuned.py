"""What a fine-tuning run has learned: the weights it started from, the tuned ones, and its adapter if it has one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from policy_server.export.parity import TOLERANCE, measure_parity
from policy_server.lora.weights import State, adapter_pairs, base_state
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.adapter import Adapter, AdapterBaseError, AdapterError
from policy_server.runtime.bundle import Bundle
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.manifest import PolicySpec
from policy_server.training.checkpoint import (
    BEST_FILE,
    CHECKPOINT_FILE,
    Checkpoint,
    choose_checkpoint,
    load_checkpoint,
)
from policy_server.training.configuration import TrainingConfig

_BASE_TRIALS = 2  # random contexts; another base differs on every one of them


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned policy beside its base, both as state dicts without adapter.

    Attributes:
        adapter: path of each adapted layer → (A, B), averaged; empty after full fine-tuning.
    """

    step: int
    config: TrainingConfig
    spec: PolicySpec
    base: State
    tuned: State
    adapter: dict[str, tuple[Tensor, Tensor]]


def read_tuned(run: Path, which: Literal["best", "last"] | None = None, base: Path | None = None) -> Tuned:
    """The run in folder ``run``. A run with adapter holds its base; another one's is read from where it started, or from ``base``.

    Raises:
        ConfigurationError: there is no such run, it started from nothing, or the run that it started from is gone.
    """
    checkpoint = choose_checkpoint(run, which)
    return Tuned(
        checkpoint.step,
        checkpoint.config,
        checkpoint.spec,
        base_state(checkpoint.model) if checkpoint.adapter else _started_from(run, checkpoint, base),
        checkpoint.average,
        adapter_pairs(checkpoint.adapter),
    )


def make_adapter(tuned: Tuned, bundle: Bundle, name: str) -> Adapter:
    """The run's adapter, bound to ``bundle``, the exported base.

    Raises:
        AdapterError: the run has no adapter.
        AdapterBaseError: ``bundle`` does not answer what the run's base answers.
    """
    if not tuned.adapter:
        raise AdapterError(
            "this run has no adapter, it changed the weights themselves: merge it (python -m policy_server.lora merge)"
        )
    check_is_base(tuned.base, tuned.config, bundle)
    return Adapter(
        name=name,
        base_hash=bundle.hash,
        rank=tuned.config.lora.rank,
        alpha=tuned.config.lora.alpha,
        layers={path: (down.numpy(), up.numpy()) for path, (down, up) in tuned.adapter.items()},
        training=_trained_on(tuned),
    )


def check_is_base(base: State, config: TrainingConfig, bundle: Bundle) -> None:
    """Raises AdapterBaseError when ``bundle`` is no export of the policy with the weights ``base``: their answers are compared."""
    try:
        policy = DiffusionPolicy(bundle.spec, config.model)
        policy.load_state_dict(base)
    except (RuntimeError, ConfigurationError):
        raise AdapterBaseError(
            f"bundle '{bundle.path}' is of another network than the run's base: {_export_of(config)}"
        ) from None
    parity = measure_parity(policy.eval(), bundle, trials=_BASE_TRIALS)
    if max(parity.embedding, parity.chunk) > TOLERANCE:
        raise AdapterBaseError(
            f"bundle '{bundle.path}' answers otherwise than the run's base (embedding {parity.embedding:.1e}, chunk "
            f"{parity.chunk:.1e}, at most {TOLERANCE:.0e} is rounding): {_export_of(config)}"
        )


def _export_of(config: TrainingConfig) -> str:
    return f"give the export of the {config.start_checkpoint} checkpoint in '{config.start_from}'"


def _started_from(run: Path, checkpoint: Checkpoint, base: Path | None) -> State:
    config = checkpoint.config
    folder = base or config.start_from
    if folder is None:
        raise ConfigurationError(
            f"the run in '{run}' started from nothing (no start_from): it has no base to compare with"
        )
    file = BEST_FILE if config.start_checkpoint == "best" else CHECKPOINT_FILE
    started = load_checkpoint(folder, file)
    if started is None:
        raise ConfigurationError(f"no {file} in '{folder}', the base of '{run}': give its folder with --base-run")
    return started.average


def _trained_on(tuned: Tuned) -> dict[str, Any]:
    config = tuned.config
    return {
        "task": tuned.spec.task,
        "dataset": config.dataset.name,
        "demonstrations": config.episodes,
        "steps": tuned.step,
        "seed": config.seed,
        "targets": list(config.lora.targets),
        "optimizer": config.optimizer.kind,
        "learning_rate": config.optimizer.learning_rate,
    }
