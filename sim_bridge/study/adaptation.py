"""What adapted policies came to, by shift: gathered from the results table for the report's tables and plots."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from sim_bridge.intervals import Rate, success_rate
from sim_bridge.study.result import CellResult
from sim_bridge.study.statistics import Difference, paired_difference


@dataclass(frozen=True)
class Adaptation:
    """One way to adapt with one number of demonstrations, pooled over training seeds.

    Attributes:
        demonstrations: 0 for the base's policy as it is.
        trained_fraction: share of the policy's parameters that was trained; 0 when none was.
        success: under the shift.
        base: success of the bases of these seeds on the task as it is built; None unless all are in the table.
        as_built: on the task as it is built; None where it was not evaluated.
        change: there, adapted minus base, in pairs of the same seed; None without a base in the table.
        train_s: median wall time of a training.
    """

    method: str
    demonstrations: int
    seeds: tuple[int, ...]
    trained_fraction: float
    success: Rate
    base: Rate | None
    as_built: Rate | None
    change: Difference | None
    train_s: float


@dataclass(frozen=True)
class ShiftedWorld:
    """A task under a shift, and all that was adapted to it; ``base``: success of the bases on the task as it is built."""

    task: str
    shift: str
    context_length: int
    backbone: str
    base: Rate | None
    rows: tuple[Adaptation, ...]

    @property
    def unadapted(self) -> Rate | None:
        """Success of the bases under the shift."""
        return next((row.success for row in self.rows if not row.demonstrations), None)


def shifted_worlds(results: Iterable[CellResult]) -> list[ShiftedWorld]:
    """In the order of the results."""
    results = list(results)
    by_hash = {result.hash: result for result in results}
    grouped: dict[tuple[str, str, int, str], list[CellResult]] = defaultdict(list)
    for result in results:
        if result.shift and result.base:
            grouped[result.task, result.shift, result.context_length, result.backbone].append(result)
    return [_world(key, found, by_hash) for key, found in grouped.items()]


def _world(key: tuple[str, str, int, str], found: Sequence[CellResult], by_hash: dict[str, CellResult]) -> ShiftedWorld:
    bases = {result.base: by_hash[result.base] for result in found if result.base in by_hash}
    rows: dict[tuple[str, int], list[CellResult]] = defaultdict(list)
    for result in found:
        rows[result.method, result.demonstrations].append(result)
    adaptations = [_row(method, count, cells, by_hash) for (method, count), cells in rows.items()]
    return ShiftedWorld(*key, _pooled(base.outcomes for base in bases.values()), tuple(adaptations))


def _row(method: str, count: int, cells: Sequence[CellResult], by_hash: dict[str, CellResult]) -> Adaptation:
    success = _pooled(cell.outcomes for cell in cells)
    assert success is not None  # a result has episodes
    return Adaptation(
        method=method,
        demonstrations=count,
        seeds=tuple(sorted(cell.seed for cell in cells)),
        trained_fraction=max(cell.trained_fraction for cell in cells),
        success=success,
        base=_base(cells, by_hash),
        as_built=_pooled(cell.as_built for cell in cells),
        change=_change(cells, by_hash),
        train_s=median(cell.train_s for cell in cells),
    )


def _base(cells: Sequence[CellResult], by_hash: dict[str, CellResult]) -> Rate | None:
    """Of the cells' own bases: another seed's may be better or worse."""
    bases = dict.fromkeys(cell.base for cell in cells)
    return _pooled(by_hash[base].outcomes for base in bases) if by_hash.keys() >= bases.keys() else None


def _pooled(outcomes: Iterable[str]) -> Rate | None:
    together = "".join(outcomes)
    return success_rate(together.count("1"), len(together)) if together else None


def _change(cells: Sequence[CellResult], by_hash: dict[str, CellResult]) -> Difference | None:
    pairs = [
        (cell.as_built, by_hash[cell.base].outcomes)
        for cell in cells
        if cell.base in by_hash and len(cell.as_built) == by_hash[cell.base].episodes
    ]
    if not pairs:
        return None
    return paired_difference([(_flags(adapted for adapted, _ in pairs), _flags(base for _, base in pairs))])


def _flags(outcomes: Iterable[str]) -> NDArray[np.int8]:
    """Int8 0/1 (S, E)."""
    return np.array([[character == "1" for character in each] for each in outcomes], np.int8)
