"""How long a cell will take, from those that have been measured."""

import math
from collections.abc import Iterable, Sequence
from statistics import median

from sim_bridge.study.cell_run import EVALUATE_AS_BUILT, stages_of
from sim_bridge.study.cells import Cell
from sim_bridge.study.result import CellResult


def estimate_s(cell: Cell, results: Iterable[CellResult]) -> float | None:
    """Seconds for a cell: training at the pace per step, and evaluation, of the cells that are most like it; None without any.

    The pace of training depends on the method, backbone and context; the evaluation's rather on the task.
    """
    measured = list(results)
    if not measured:
        return None
    for_training = _most_alike(cell, measured, ("observations", "backbone", "method", "context_length", "task"))
    for_evaluation = _most_alike(cell, measured, ("observations", "task", "backbone", "context_length", "method"))
    steps = median(result.steps for result in for_training) if cell.steps is None else cell.steps
    training_s = steps * median(result.step_s for result in for_training)
    start_s = median(max(0.0, result.train_s - result.step_s * result.steps) for result in for_training)
    export_s = median(result.export_s for result in for_training)
    episode_s = median(result.evaluate_s / _episodes(result) for result in for_evaluation)
    evaluation_s = episode_s * cell.evaluation.episodes * (1 + (EVALUATE_AS_BUILT in stages_of(cell)))
    return evaluation_s + (start_s + training_s + export_s if cell.is_trained else 0.0)


def _episodes(result: CellResult) -> int:
    return result.episodes + len(result.as_built)


def _most_alike(cell: Cell, results: Sequence[CellResult], axes: Sequence[str]) -> list[CellResult]:
    """The results nearest to the cell, the axis named first counting most; context lengths by their ratio."""

    def distance(result: CellResult) -> tuple[float, ...]:
        return tuple(_distance(axis, cell, result) for axis in axes)

    least = min(distance(result) for result in results)
    return [result for result in results if distance(result) == least]


def _distance(axis: str, cell: Cell, result: CellResult) -> float:
    if axis == "observations":
        return float(result.observations != ("features" if cell.training.get("features") else "images"))
    if axis == "context_length":
        return abs(math.log2(cell.context_length / result.context_length))
    return float(getattr(cell, axis) != getattr(result, axis))
