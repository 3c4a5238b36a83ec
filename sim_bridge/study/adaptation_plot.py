"""Plot of adapted policies: success against the number of demonstrations, under the shift and on the task as it is built."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from sim_bridge.intervals import Rate
from sim_bridge.study.adaptation import Adaptation, ShiftedWorld
from sim_bridge.study.plots import COLOURS, DASHES, MARKERS

_ASIDE = 0.04


def plot_adaptation(worlds: Sequence[ShiftedWorld], file: Path) -> bool:
    """A column of two panels per shifted world; returns whether there was anything to draw."""
    shown = [world for world in worlds if any(row.demonstrations for row in world.rows)]
    if not shown:
        return False
    figure, axes = plt.subplots(
        2, len(shown), figsize=(3.6 * len(shown) + 0.6, 7.0), squeeze=False, sharex="col", sharey=True,
        constrained_layout=True,
    )  # fmt: skip
    methods = list(dict.fromkeys(row.method for world in shown for row in world.rows if row.demonstrations))
    for column, world in enumerate(shown):
        axes[0, column].set_title(f"{world.task}, {world.shift}", fontsize="medium")
        _panel(axes[0, column], world, methods, lambda row: row.success)
        _panel(axes[1, column], world, methods, lambda row: row.as_built)
        _level(axes[0, column], world.unadapted, "unadapted base", (0, (1, 2)))
        axes[1, column].set_xlabel("demonstrations of the shifted task")
    axes[0, 0].set_ylabel("success under the shift [%]")
    axes[1, 0].set_ylabel("success on the task as it is built [%]")
    handles = {label: line for axis in axes.flat for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=min(2 * len(shown), len(handles)),
        frameon=False,
    )
    figure.savefig(file, dpi=120)
    plt.close(figure)
    return True


def _panel(
    axis: Axes, world: ShiftedWorld, methods: Sequence[str], rate_of: Callable[[Adaptation], Rate | None]
) -> None:
    for index, method in enumerate(methods):
        rows = sorted((row for row in world.rows if row.method == method), key=lambda row: row.demonstrations)
        points = [(row.demonstrations, rate) for row in rows if (rate := rate_of(row)) is not None]
        if points:
            _line(axis, method, points, index, len(methods))
    _level(axis, world.base, "base, task as it is built", (0, (5, 2)))
    counts = sorted({row.demonstrations for row in world.rows if row.demonstrations})
    axis.set_xscale("log", base=2)
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.minorticks_off()
    axis.set_ylim(-3, 103)
    axis.grid(axis="y", color="0.9")
    axis.set_axisbelow(True)


def _line(axis: Axes, label: str, points: Sequence[tuple[int, Rate]], index: int, lines: int) -> None:
    aside = 2 ** (_ASIDE * (index - (lines - 1) / 2))
    shares = [100 * rate.successes / rate.episodes for _, rate in points]
    below = [max(0.0, share - 100 * rate.interval[0]) for share, (_, rate) in zip(shares, points, strict=True)]
    above = [max(0.0, 100 * rate.interval[1] - share) for share, (_, rate) in zip(shares, points, strict=True)]
    axis.errorbar(
        [count * aside for count, _ in points], shares, [below, above], label=label, color=COLOURS[index % len(COLOURS)],
        marker=MARKERS[index % len(MARKERS)], linestyle=DASHES[index % len(DASHES)], markersize=5, linewidth=1.5,
        elinewidth=1, capsize=2,
    )  # fmt: skip


def _level(axis: Axes, rate: Rate | None, label: str, dashes: tuple[int, tuple[int, int]]) -> None:
    if rate is not None:
        axis.axhline(100 * rate.successes / rate.episodes, color="0.4", linewidth=1.2, linestyle=dashes, label=label)
