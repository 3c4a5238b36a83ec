"""Which results a comparison pairs, and what comes of it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sim_bridge.study.configuration import AXES, ComparisonConfig
from sim_bridge.study.result import CellResult
from sim_bridge.study.statistics import Difference, paired_difference

Key = tuple[Any, ...]
Measure = Literal["success", "as_built"]


@dataclass(frozen=True)
class Comparison:
    """One row: the axes that all its pairs share, what it is pooled over, and the difference."""

    shared: dict[str, Any]
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    difference: Difference


def value_of(result: CellResult, axis: str) -> Any:
    """A result's place on an axis; of demonstrations that is what the grid called it."""
    return result.regime if axis == "demonstrations" else getattr(result, axis)


def matches(result: CellResult, where: Mapping[str, Any]) -> bool:
    """Whether a result has the values, or one of the lists of values, that ``where`` gives for axes."""
    for axis, wanted in where.items():
        allowed = wanted if isinstance(wanted, list | tuple) else [wanted]
        if str(value_of(result, axis)) not in [str(value) for value in allowed]:
            return False
    return True


def compare(config: ComparisonConfig, results: Iterable[CellResult]) -> list[Comparison]:
    """A row for each combination of the axes that are neither compared nor pooled over, where both sides have results."""
    kept = [result for result in results if matches(result, config.where)]
    same = [axis for axis in AXES if axis not in config.a]
    side_a, side_b = (
        {tuple(value_of(result, axis) for axis in same): result for result in kept if matches(result, side)}
        for side in (config.a, config.b)
    )
    shared_axes = [axis for axis in same if axis not in config.over]
    rows: dict[Key, list[tuple[CellResult, CellResult]]] = defaultdict(list)
    for key, result in side_a.items():
        if key in side_b and is_paired(result, side_b[key], config.measure):
            rows[tuple(value for axis, value in zip(same, key, strict=True) if axis in shared_axes)].append(
                (result, side_b[key])
            )
    return [_row(dict(zip(shared_axes, key, strict=True)), pairs, config.measure) for key, pairs in rows.items()]


def is_paired(a: CellResult, b: CellResult, measure: Measure = "success") -> bool:
    """Whether both ran the same episodes."""
    if (a.task, a.evaluation_seed) != (b.task, b.evaluation_seed):
        return False
    if measure == "success" and a.shift != b.shift:
        return False
    return len(outcomes_of(a, measure)) == len(outcomes_of(b, measure)) > 0


def outcomes_of(result: CellResult, measure: Measure) -> str:
    """One character per episode: on the cell's task, or on the task as it is built; that of a cell without a shift is the same."""
    return result.as_built if measure == "as_built" and result.shift else result.outcomes


def _row(shared: dict[str, Any], pairs: list[tuple[CellResult, CellResult]], measure: Measure) -> Comparison:
    blocks: dict[Key, list[tuple[CellResult, CellResult]]] = defaultdict(list)
    for a, b in pairs:  # seeds of one block ran the same episodes; everything else that is pooled has blocks of its own
        blocks[tuple(value_of(a, axis) for axis in AXES if axis != "seed")].append((a, b))
    difference = paired_difference(
        [
            (_outcomes((a for a, _ in block), measure), _outcomes((b for _, b in block), measure))
            for block in blocks.values()
        ]
    )
    tasks = tuple(dict.fromkeys(a.task for a, _ in pairs))
    return Comparison(shared, tasks, tuple(sorted({a.seed for a, _ in pairs})), difference)


def _outcomes(results: Iterable[CellResult], measure: Measure) -> NDArray[np.int8]:
    """Int8 0/1 (S, E)."""
    return np.array([[character == "1" for character in outcomes_of(result, measure)] for result in results], np.int8)
