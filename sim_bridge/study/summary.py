"""Results gathered for tables and plots: pooled over training seeds, by context length."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sim_bridge.intervals import Rate, success_rate
from sim_bridge.study.comparisons import value_of
from sim_bridge.study.result import CellResult


@dataclass(frozen=True)
class Point:
    """Success at one context length, pooled over training seeds.

    ``contextual``: of the episodes in which the manipulation itself was completed; None where the task does not state it, or none
    was completed.
    """

    context_length: int
    seeds: tuple[int, ...]
    success: Rate
    contextual: Rate | None


def lines(results: Iterable[CellResult], axes: Sequence[str]) -> dict[tuple[Any, ...], list[Point]]:
    """Values of ``axes`` → points by ascending context length; results that differ in other axes must have been sorted out before."""
    grouped: dict[tuple[Any, ...], dict[int, list[CellResult]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        grouped[tuple(value_of(result, axis) for axis in axes)][result.context_length].append(result)
    return {
        key: [_point(length, by_length[length]) for length in sorted(by_length)] for key, by_length in grouped.items()
    }


def _point(length: int, results: Sequence[CellResult]) -> Point:
    outcomes = "".join(result.outcomes for result in results)
    completed = "".join(result.completed for result in results)
    successes, chances = outcomes.count("1"), completed.count("1")
    return Point(
        length,
        tuple(sorted({result.seed for result in results})),
        success_rate(successes, len(outcomes)),
        success_rate(min(successes, chances), chances) if chances else None,
    )
