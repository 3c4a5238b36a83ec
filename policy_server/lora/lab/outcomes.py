"""What became of each cell: which side of the search is kept, and how many steps it took."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policy_server.lora.lab.cells import Cell
from policy_server.lora.lab.dynamics import Doubles
from policy_server.lora.lab.simulation import NEVER, GroupResult

_CLEARLY_LOWER = 0.95
_ESCAPED = 0.1  # overlap² at which a plateau counts as left


@dataclass(frozen=True)
class Outcome:
    """One cell, I instances. Of the two starts the one with the lower loss at its end is kept, u₀ unless -u₀'s is clearly lower: what
    can be told without knowing u.

    ``steps`` (I,): to the threshold on the kept side, infinite when never; ``first_steps``: the same from u₀. ``escape_steps``: to
    overlap² 0.1. ``restarted`` (I,): -u₀ was kept. ``ended``: steps done. ``overlap`` (I,): ⟨u, û⟩ at the end. ``log_steps`` (P,),
    ``log_overlap`` and ``log_loss`` (P, I) of the kept side. ``first_loss`` and ``last_loss`` (I,): mean squared error over the first
    steps, and over the last quarter.
    """

    cell: Cell
    steps: Doubles
    first_steps: Doubles
    escape_steps: Doubles
    restarted: NDArray[np.bool_]
    ended: int
    overlap: Doubles
    log_steps: NDArray[np.int64]
    log_overlap: Doubles
    log_loss: Doubles
    first_loss: Doubles
    last_loss: Doubles

    @property
    def reached(self) -> float:
        """Share of the instances that arrived at the threshold."""
        return float(np.isfinite(self.steps).mean())

    def steps_to_loss(self, level: float) -> Doubles:
        """First logged step (I,) at which the mean squared error since the log before was no more than ``level``."""
        return _first(self.log_steps, self.log_loss <= level)

    @property
    def median_steps(self) -> float:
        return float(np.quantile(self.steps, 0.5, method="lower"))


def outcomes(result: GroupResult) -> list[Outcome]:
    """In the order of the group's cells."""
    first, found = 0, []
    for cell in result.group.cells:
        sides = range(first, first + len(cell.sides))
        found.append(_outcome(result, cell, list(sides)))
        first = sides.stop
    return found


def _outcome(result: GroupResult, cell: Cell, sides: Sequence[int]) -> Outcome:
    ended = int(result.ended[sides[0]])
    logged = result.steps <= ended
    steps = result.steps[logged]
    loss = result.loss[logged][:, sides].astype(np.float64)
    overlap = result.overlap[logged][:, sides].astype(np.float64)
    late = np.stack([_late_loss(steps, loss[:, side]) for side in range(len(sides))])
    restarted = late[-1] < _CLEARLY_LOWER * late[0] if len(sides) > 1 else np.zeros(late.shape[1], bool)
    kept, instances = restarted.astype(int), np.arange(late.shape[1])
    reached = np.where(result.reached[list(sides)] == NEVER, np.inf, result.reached[list(sides)])
    own_overlap, own_loss = overlap[:, kept, instances], loss[:, kept, instances]
    return Outcome(
        cell,
        reached[kept, instances],
        reached[0],
        _first(steps, own_overlap**2 >= _ESCAPED),
        restarted,
        ended,
        result.final[list(sides)][kept, instances],
        steps,
        own_overlap,
        own_loss,
        own_loss[0],
        late[kept, instances],
    )


def _late_loss(steps: NDArray[np.int64], loss: Doubles) -> Doubles:
    """Mean over the last quarter of the steps (I,); each row of ``loss`` is a mean since the row before."""
    weights = np.diff(steps, prepend=0) * (steps > 0.75 * steps[-1])
    with np.errstate(invalid="ignore", over="ignore"):  # of a student that diverged
        mean: Doubles = weights @ loss / weights.sum()
    return mean


def _first(steps: NDArray[np.int64], holds: NDArray[np.bool_]) -> Doubles:
    found: Doubles = np.where(holds.any(axis=0), steps[holds.argmax(axis=0)].astype(np.float64), np.inf)
    return found
