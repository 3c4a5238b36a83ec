"""Pictures of a laboratory run: overlap and loss over the steps, and steps to the threshold over what was varied."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np

from policy_server.lora.lab.cells import Cell
from policy_server.lora.lab.exponents import Exponent
from policy_server.lora.lab.outcomes import Outcome

matplotlib.use("Agg")
import matplotlib.pyplot as plt

AXES = {"dimension": "dimension d", "neurons": "neurons k", "strength": "strength ξ", "scale": "scale of the step size"}
_COLUMNS = 4


def varied(cells: Sequence[Cell]) -> list[str]:
    """What differs between these cells, in the order of ``AXES``; a strength ξ = √k that follows k is no change."""
    compared = {name: name for name in AXES} | {"strength": "kappa"}
    return [name for name in AXES if len({f"{getattr(cell, compared[name]):.6g}" for cell in cells}) > 1]


def plot_curves(
    series: Mapping[str, Sequence[Outcome]], what: Literal["overlap", "loss"], threshold: float, file: Path
) -> None:
    """A panel per series, a line per cell: the median over the instances of overlap² or of the loss, the quartiles shaded."""
    columns = min(_COLUMNS, len(series))
    rows = -(-len(series) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(3.6 * columns, 2.9 * rows),
        squeeze=False,
        layout="constrained",
        sharey=what == "overlap",
    )
    for axis in axes.flat[len(series) :]:
        axis.set_visible(False)
    for (name, own), axis in zip(series.items(), axes.flat, strict=False):
        names = varied([each.cell for each in own])
        for index, each in enumerate(own):
            _draw_curve(axis, each, what, plt.cm.viridis(index / max(1, len(own))), names)
        if what == "overlap":
            axis.axhline(threshold, color="0.5", linestyle=":", linewidth=1)
            axis.set_ylim(-0.03, 1.03)
        axis.set(xscale="log", title=name, xlabel="step")
        if names:
            axis.legend(fontsize=6, loc="upper left" if what == "overlap" else "lower left")
    for axis in axes[:, 0]:
        axis.set_ylabel("overlap ⟨u, û⟩²" if what == "overlap" else "squared error")
    _save(figure, file)


def _draw_curve(axis: Any, each: Outcome, what: str, colour: Any, names: Sequence[str]) -> None:
    values = each.log_overlap**2 if what == "overlap" else each.log_loss
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=1)
    symbols = {"dimension": "d", "neurons": "k", "strength": "ξ", "scale": "scale"}
    label = ", ".join(f"{symbols[name]} = {getattr(each.cell, name):g}" for name in names)
    axis.plot(each.log_steps, middle, color=colour, linewidth=1.2, label=label)
    axis.fill_between(each.log_steps, low, high, color=colour, alpha=0.15, linewidth=0)


def plot_steps(series: Mapping[str, Sequence[Outcome]], over: str, fits: Mapping[str, Exponent], file: Path) -> None:
    """Log-log: every instance's steps to the threshold over what was varied, the medians, and the fitted lines."""
    figure, axis = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
    for index, (name, own) in enumerate(series.items()):
        colour = f"C{index}"
        sizes = np.array([getattr(each.cell, over) for each in own], float)
        shift = 1 + 0.02 * (index - len(series) / 2)
        for size, each in zip(sizes, own, strict=True):
            arrived = each.steps[np.isfinite(each.steps)]
            axis.plot(np.full(len(arrived), size * shift), arrived, ".", color=colour, markersize=3, alpha=0.4)
        medians = np.array([each.median_steps for each in own])
        known = np.isfinite(medians)
        axis.plot(sizes[known], medians[known], "o", color=colour, markersize=5, label=_label(name, fits.get(name)))
        fit = fits.get(name)
        if fit is not None and np.isfinite(fit.value):
            axis.plot(sizes, fit.factor * sizes**fit.value, color=colour, linewidth=1)
    axis.set(xscale="log", yscale="log", xlabel=AXES[over], ylabel="steps to the threshold")
    axis.minorticks_off()
    ticks = sorted({float(getattr(each.cell, over)) for own in series.values() for each in own})
    axis.set_xticks(ticks, [f"{tick:.4g}" for tick in ticks])
    axis.legend(fontsize=8)
    _save(figure, file)


def _label(name: str, fit: Exponent | None) -> str:
    if fit is None or not np.isfinite(fit.value):
        return name
    return f"{name}: exponent {fit.value:.2f} ({fit.low:.2f} to {fit.high:.2f})"


def _save(figure: Any, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=90)
    plt.close(figure)
