"""What fine-tuning a policy to a changed task is: the base's own training, with fewer demonstrations and some settings of its own."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from policy_server.lora.weights import State, base_state
from policy_server.runtime import configuration
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.manifest import PolicySpec
from policy_server.training.checkpoint import BEST_FILE, Checkpoint, choose_checkpoint, load_checkpoint
from policy_server.training.configuration import LoraSettings, TrainingConfig, ValidationConfig

Method = Literal["lora", "full", "scratch"]

# What ``training`` may change. The rest is either at the top of the configuration, or makes the policy what it is.
FREE = (
    *("steps", "batch_windows", "windows_per_episode", "accumulate", "precision", "threads", "checkpoint_every"),
    *("damaged_episodes", "history", "encoder", "augmentation", "optimizer", "validation", "sampling_steps"),
)


@dataclass(frozen=True)
class FinetuneConfig:
    """One fine-tuning.

    ``base``: folder of the run whose policy is adapted; its best checkpoint where it has one. ``dataset``: demonstrations of the
    changed task, of which the first ``demonstrations`` are shown (0: all). ``method``: ``lora`` trains an adapter, ``full`` all
    weights from those of the base, ``scratch`` the same networks from nothing, as a control.
    ``training``: settings of ``TrainingConfig`` that differ from the base's own training; ``by_method`` some more, of one method.
    The base's validation rollouts and the state of its encoder's training are not taken over.

    When it is done, ``bundle`` receives the merged policy, and ``adapter``, of ``lora`` alone, the adapter as a file for
    ``base_bundle``, the exported base. Either may be left out.
    """

    base: Path
    dataset: Path
    output: Path
    method: Method = "lora"
    demonstrations: int = 10
    seed: int = 0
    lora: LoraSettings = field(default_factory=lambda: LoraSettings(rank=8))
    training: dict[str, Any] = field(default_factory=dict)
    by_method: dict[Method, dict[str, Any]] = field(default_factory=dict)
    base_bundle: Path | None = None
    adapter: Path | None = None
    bundle: Path | None = None


def read_base(config: FinetuneConfig) -> Checkpoint:
    """The base's checkpoint. Raises ConfigurationError when there is none, or a setting of ``config`` is out of range."""
    refusals = (
        (config.demonstrations < 0, f"demonstrations={config.demonstrations}: give a number, or 0 for all"),
        (config.method == "lora" and config.lora.rank < 1, f"lora.rank={config.lora.rank}: give 1 or more"),
        (
            config.adapter is not None and config.base_bundle is None,
            "adapter: needs base_bundle, the exported base that it will be loaded on",
        ),
    )
    for refused, reason in refusals:
        if refused:
            raise ConfigurationError(reason)
    return choose_checkpoint(config.base)


def training_of(config: FinetuneConfig, base: Checkpoint) -> TrainingConfig:
    """The training that ``config`` asks for, on the ground of the base's own.

    Raises:
        ConfigurationError: a setting that fine-tuning may not change, or one that is unknown or does not fit.
    """
    own = {"encoder": {}, "validation": configuration.to_plain(ValidationConfig())}
    values = configuration.to_plain(base.config) | own
    for source, changes in (("training", config.training), (config.method, config.by_method.get(config.method, {}))):
        where = source if source == "training" else f"by_method.{source}"
        _refuse_fixed(changes, where)
        values = _merged(values, changes)
    starts = config.method != "scratch"
    values |= {
        "name": config.output.name,
        "dataset": config.dataset,
        "output": config.output,
        "episodes": config.demonstrations,
        "seed": config.seed,
        "start_from": config.base if starts else None,
        "start_checkpoint": "best" if starts and (config.base / BEST_FILE).exists() else "last",
        "lora": configuration.to_plain(config.lora if config.method == "lora" else LoraSettings()),
    }
    return configuration.build(TrainingConfig, values, "fine-tuning")


def as_begun(training: TrainingConfig, base: Checkpoint) -> tuple[TrainingConfig, State]:
    """The training, and the weights that it starts from; of a run that goes on, as they were when it began.

    The base may have been trained on since, or have a best checkpoint now: the run's own checkpoint knows which one it took, and
    holds what lies under its adapter.
    """
    begun = load_checkpoint(training.output)
    if begun is None:
        return training, base.average
    own = base_state(begun.model) if begun.adapter else {}
    is_alike = _shapes(own) == _shapes(base.average)  # else the training refuses the run
    return (
        dataclasses.replace(training, start_checkpoint=begun.config.start_checkpoint),
        own if is_alike else base.average,
    )


def _shapes(state: State) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def check_same_senses(base: PolicySpec, spec: PolicySpec) -> None:
    """Raises ConfigurationError when the changed task's dataset does not show what the base policy sees and moves."""
    for name, had, has in (
        ("rate_hz", base.rate_hz, spec.rate_hz),
        ("cameras", [camera.name for camera in base.cameras], [camera.name for camera in spec.cameras]),
        ("proprioception joints", base.proprioception_joints, spec.proprioception_joints),
        ("features", base.features, spec.features),
        ("action joints", base.action.joints, spec.action.joints),
    ):
        if had != has:
            raise ConfigurationError(f"dataset: its {name} are {has}, the base was trained with {had}: record it alike")


def takes_cached_embeddings(training: TrainingConfig, adapts_encoder: bool) -> bool:
    """Whether the pictures can be encoded once for all: the base's encoder stays as it is, and sees unchanged pictures."""
    default = TrainingConfig(training.name, training.dataset, training.output)
    return (
        bool(training.cameras)
        and training.lora.rank > 0
        and not adapts_encoder
        and training.encoder == default.encoder
        and training.augmentation == default.augmentation
    )


def _refuse_fixed(changes: Mapping[str, Any], where: str) -> None:
    known = {each.name for each in dataclasses.fields(TrainingConfig)}
    for key in changes:
        if key in FREE:
            continue
        if key in known:
            raise ConfigurationError(
                f"{where}.{key}: the base has set it, or it stands at the top of the configuration; free are {', '.join(FREE)}"
            )
        near = difflib.get_close_matches(key, FREE, n=1)
        mend = f"did you mean '{near[0]}'?" if near else f"free are {', '.join(FREE)}"
        raise ConfigurationError(f"unknown key '{where}.{key}'; {mend}")


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with ``changes``, section by section."""
    result = dict(values)
    for key, change in changes.items():
        old = result.get(key)
        result[key] = _merged(old, change) if isinstance(old, Mapping) and isinstance(change, Mapping) else change
    return result
