"""What a cell came to: one row of the results table."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

COMPLETED = {
    "grasp_and_return": re.compile(r"from where it was$"),
    "press_count": re.compile(r"^pressed \d+ times"),
    "reach_cued": re.compile(r"^reached the "),
    "shell_game": re.compile(r"^touched "),
}
"""Reasons of an outcome that say that the manipulation itself was completed, rightly or wrongly chosen, for tasks with a memory."""


@dataclass(frozen=True)
class CellResult:
    """A finished cell.

    Attributes:
        cell: its name and folder; ``hash`` is of its configuration.
        observations: ``features`` or ``images``.
        outcomes: one character per episode, in the order of the seeds: 1 success, 0 failure.
        completed: the same for the manipulation itself; empty where the task does not state it.
        step_s: mean wall time of an optimizer step; ``train_s``, ``export_s``, ``evaluate_s``: of the whole commands.
        versions: of what computed it; ``machine``: on what.
        shift: name of what was different where it was trained and evaluated; empty: the task as it is built.
        base: hash of the cell whose policy it started from; empty: from nothing. ``base_bundle``: hash of that policy's bundle.
        trained_fraction: share of the policy's parameters that was trained.
        as_built: outcomes, as ``outcomes``, on the same seeds of the task as it is built, of a policy that was adapted to a shift.
    """

    cell: str
    hash: str
    task: str
    context_length: int
    stride_ticks: int
    demonstrations: int
    regime: str
    method: str
    backbone: str
    seed: int
    observations: str
    steps: int
    final_loss: float
    bundle_mb: float
    bundle_hash: str
    evaluation_seed: int
    outcomes: str
    completed: str
    step_s: float
    train_s: float
    export_s: float
    evaluate_s: float
    versions: str
    machine: str
    finished: str
    shift: str = ""
    base: str = ""
    trained_fraction: float = 1.0
    as_built: str = ""
    base_bundle: str = ""

    @property
    def episodes(self) -> int:
        return len(self.outcomes)

    @property
    def successes(self) -> int:
        return self.outcomes.count("1")

    @property
    def total_s(self) -> float:
        return self.train_s + self.export_s + self.evaluate_s


def outcome_strings(task: str, results: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """``outcomes`` and ``completed`` of the episodes that ``sim_bridge.evaluate`` wrote."""
    outcomes = "".join("1" if result["success"] else "0" for result in results)
    pattern = COMPLETED.get(task)
    if pattern is None:
        return outcomes, ""
    return outcomes, "".join("1" if pattern.search(result["reason"]) else "0" for result in results)
