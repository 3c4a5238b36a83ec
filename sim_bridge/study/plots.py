"""Plots of a study: success against context length with Wilson intervals, and the compared differences."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from sim_bridge.study.comparisons import Comparison, matches
from sim_bridge.study.configuration import PlotConfig
from sim_bridge.study.result import CellResult
from sim_bridge.study.summary import Point, lines
from sim_bridge.tasks.registry import task_by_name

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, told apart with any colour vision; markers and dashes differ too."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
_PANELS_PER_ROW = 3
_LABEL_WIDTH = 56
_SPREAD = 0.04
"""Share of an octave by which lines stand aside, so that their intervals do not cover each other."""


def plot_success(config: PlotConfig, results: Sequence[CellResult], file: Path) -> bool:
    """One panel per task; returns whether there was anything to draw."""
    kept = [result for result in results if matches(result, config.where)]
    tasks = list(dict.fromkeys(result.task for result in kept))
    if not tasks:
        return False
    columns = min(_PANELS_PER_ROW, len(tasks))
    rows = -(-len(tasks) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4.2 * columns, 3.3 * rows + 0.9), squeeze=False, sharey=True, constrained_layout=True
    )
    names = list(dict.fromkeys(key for key in lines(kept, config.lines)))
    for axis, task in zip(axes.flat, tasks, strict=False):
        _panel(axis, task, [result for result in kept if result.task == task], config.lines, names)
    for axis in axes.flat[len(tasks) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("success [%]")
    handles = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=min(4, len(handles)), frameon=False
    )
    figure.suptitle(config.title)
    figure.savefig(file, dpi=120)
    plt.close(figure)
    return True


def _panel(axis: Axes, task: str, results: Sequence[CellResult], axes: Sequence[str], names: Sequence[Any]) -> None:
    for key, points in lines(results, axes).items():
        _line(axis, ", ".join(str(value) for value in key) or "success", points, names.index(key), len(names))
    chance = task_by_name(task).chance
    if chance < 1:
        axis.axhline(100 * chance, color="0.5", linewidth=1, linestyle=(0, (2, 2)), label="chance")
    lengths = sorted({result.context_length for result in results})
    axis.set_xscale("log", base=2)
    axis.set_xticks(lengths, [str(length) for length in lengths])
    axis.minorticks_off()
    axis.set_ylim(-3, 103)
    axis.grid(axis="y", color="0.9")
    axis.set_axisbelow(True)
    strides = sorted({result.stride_ticks for result in results})
    axis.set_title(f"{task}  (memory: {task_by_name(task).memory})", fontsize="medium")
    axis.set_xlabel(f"context length, every {' or '.join(map(str, strides))} ticks", fontsize="small")


def _line(axis: Axes, label: str, points: Sequence[Point], index: int, count: int) -> None:
    aside = 2 ** (_SPREAD * (index - (count - 1) / 2))
    lengths = [point.context_length * aside for point in points]
    shares = [100 * point.success.successes / point.success.episodes for point in points]
    below = [share - 100 * point.success.interval[0] for share, point in zip(shares, points, strict=True)]
    above = [100 * point.success.interval[1] - share for share, point in zip(shares, points, strict=True)]
    axis.errorbar(
        lengths, shares, [[max(0.0, value) for value in below], [max(0.0, value) for value in above]], label=label,
        color=COLOURS[index % len(COLOURS)], marker=MARKERS[index % len(MARKERS)], linestyle=DASHES[index % len(DASHES)],
        markersize=5, linewidth=1.6, elinewidth=1, capsize=2,
    )  # fmt: skip


def plot_differences(rows: Sequence[tuple[str, Comparison]], file: Path) -> bool:
    """Every compared difference with its interval; returns whether there was any."""
    if not rows:
        return False
    labels = [textwrap.fill(label, _LABEL_WIDTH) for label, _ in rows]
    lines = sum(label.count("\n") + 1.5 for label in labels)
    figure, axis = plt.subplots(figsize=(10, 1.2 + 0.17 * lines), constrained_layout=True)
    for place, (_, comparison) in enumerate(rows):
        difference = comparison.difference
        low, high = (100 * bound for bound in difference.interval)
        colour = COLOURS[0] if low > 0 else COLOURS[1] if high < 0 else "0.45"
        axis.plot([low, high], [place, place], color=colour, linewidth=1.6)
        axis.plot(100 * difference.difference, place, "o", color=colour, markersize=5)
    axis.axvline(0, color="0.3", linewidth=1)
    axis.set_yticks(range(len(rows)), labels, fontsize="small")
    axis.invert_yaxis()
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)
    axis.set_xlabel("difference in success [percentage points], 95 % interval; right: the first one is better")
    figure.savefig(file, dpi=120)
    plt.close(figure)
    return True
