"""Trained runs at numbers of denoising steps, as the benchmarks of sampling take them: ``RUN`` or ``RUN:1,2,3``."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.manifest import PolicySpec
from policy_server.training.checkpoint import Checkpoint, choose_checkpoint
from policy_server.training.configuration import most_sampling_steps

STEPS = (1, 2, 3, 5, 10)


@dataclass(frozen=True)
class Entry:
    """A trained run, sampled in ``steps`` steps."""

    run: Path
    checkpoint: Checkpoint
    steps: int

    def __str__(self) -> str:
        return f"{self.run}:{self.steps}"

    def spec(self) -> PolicySpec:
        spec = self.checkpoint.spec
        return dataclasses.replace(spec, sampler=dataclasses.replace(spec.sampler, steps=self.steps))

    def policy(self) -> DiffusionPolicy:
        """The averaged weights."""
        policy = DiffusionPolicy(self.spec(), self.checkpoint.config.model)
        policy.load_state_dict(self.checkpoint.average)
        return policy.eval()


def read_entries(runs: Sequence[str], steps: Sequence[int] | None) -> list[Entry]:
    """What ``RUN`` and ``RUN:1,2,3`` name, in order of the runs, then of the steps; a run without steps of its own gets ``steps``, and of
    the default as many as it was trained for.

    Raises:
        ConfigurationError: no such run, runs of several tasks, or steps that a run was not trained for.
    """
    entries: list[Entry] = []
    for text in runs:
        name, own = _split(text)
        checkpoint = choose_checkpoint(Path(name))
        most = most_sampling_steps(checkpoint.config)
        wanted = sorted(set(own or steps or [count for count in STEPS if count <= most]))
        if not 1 <= wanted[0] <= wanted[-1] <= most:
            raise ConfigurationError(
                f"{text}: {wanted} steps; this policy was trained for 1 to {most}, give some of these"
            )
        entries += [Entry(Path(name), checkpoint, count) for count in wanted]
    tasks = sorted({entry.checkpoint.spec.task for entry in entries})
    if len(tasks) > 1:
        raise ConfigurationError(f"runs of {' and '.join(tasks)}: give runs of one task, for the same episodes")
    return entries


def _split(text: str) -> tuple[str, list[int]]:
    """``RUN:1,2,3`` → the run and its steps; a run without steps has none."""
    name, separator, steps = text.rpartition(":")
    if not separator:
        return text, []
    try:
        return name, [int(part) for part in steps.split(",")]
    except ValueError:
        raise ConfigurationError(f"'{text}': after the colon come numbers of steps, e.g. {name}:1,2,10") from None
