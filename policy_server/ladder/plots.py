"""Pictures of a ladder: quantiles over steps with the plateau, the laws on log-log axes, exponents, and the held-out size."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from policy_server.ladder.configuration import PlateauConfig
from policy_server.ladder.laws import Group, HeldOut, Law
from policy_server.ladder.plateau import Curve
from policy_server.muon.recipe import FIXED_FIVE
from policy_server.muon.response import failure_threshold
from policy_server.muon.spectrum import QUANTILES

matplotlib.use("Agg")
import matplotlib.pyplot as plt

QUARTERS = ("first quarter", "second", "third", "last")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_SHOWN = (0.1, 0.5, 0.9)


def plot_steps(curves: Sequence[Curve], plateau: PlateauConfig, file: Path) -> None:
    """A row per family, a panel per rung: the geometric mean over all matrices and seeds of each quantile over the steps, the burn-in
    shaded. Thin lines are single layer types and depths."""
    families = list(dict.fromkeys(curve.rung.family for curve in curves))
    rungs = {family: _rungs(curves, family) for family in families}
    columns = max(map(len, rungs.values()))
    figure, axes = plt.subplots(
        len(families), columns, figsize=(3.1 * columns, 2.7 * len(families) + 0.6), sharey=True, squeeze=False, layout="constrained"
    )  # fmt: skip
    for family, line in zip(families, axes, strict=True):
        for axis in line[len(rungs[family]) :]:
            axis.set_visible(False)
        for name, axis in zip(rungs[family], line, strict=False):
            own = [curve for curve in curves if (curve.rung.family, curve.rung.name) == (family, name)]
            _draw_steps(axis, own, plateau)
            axis.set_title(f"{family} {name}, {own[0].rung.parameters / 1e6:.2g} M parameters", fontsize=9)
            axis.set_xlabel("step", fontsize=9)
    # Once for all panels, which share it: every call goes through all of them.
    axes[0, 0].set_yscale("log")
    axes[0, 0].minorticks_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("singular value of M/‖M‖", fontsize=9)
    _save(figure, axes, file)


def plot_laws(groups: Sequence[Group], laws: Sequence[Law], family: str, file: Path) -> None:
    """A panel per layer type and depth quarter: every run's sigma_q over the parameters, the law, and, dotted, noise in these shapes."""
    own = {group.key: group for group in groups if group.key[0] == family}
    types = sorted({kind for _, kind, _, _ in own})
    by_key = {(law.family, law.type, law.quarter, law.quantile): law for law in laws}
    figure, axes = plt.subplots(
        len(types), 4, figsize=(12, 2.2 * len(types) + 0.6), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )  # fmt: skip
    for kind, line in zip(types, axes, strict=True):
        for quarter, axis in enumerate(line, start=1):
            keys = [key for q in QUANTILES if (key := (family, kind, quarter, q)) in own]
            axis.set_visible(bool(keys))
            axis.set_title(f"{kind}, {QUARTERS[quarter - 1]}", fontsize=9)
            for key in keys:
                _draw_law(axis, own[key], by_key[key])
    axes[0, 0].set(xscale="log", yscale="log")
    axes[0, 0].minorticks_off()
    sizes = sorted({run.parameters for group in own.values() for run in group.runs})
    axes[0, 0].set_xticks(sizes, [f"{size / 1e6:.2g}" for size in sizes])
    for axis in axes[-1]:
        axis.set_xlabel("parameters, millions", fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel(r"$\sigma$ of M/‖M‖", fontsize=9)
    _save(figure, axes, file)


def plot_exponents(laws: Sequence[Law], file: Path) -> None:
    """A row per family, a panel for each of three quantiles: alpha with its interval by type and depth, and, hollow, that of noise."""
    by_key = {(law.family, law.type, law.quarter, law.quantile): law for law in laws}
    families = list(dict.fromkeys(law.family for law in laws))
    labels = {family: sorted({(law.type, law.quarter) for law in laws if law.family == family}) for family in families}
    heights = [len(labels[family]) for family in families]
    figure, axes = plt.subplots(
        len(families), len(_SHOWN), figsize=(11, 0.19 * sum(heights) + 1.2 * len(families)), sharex=True, squeeze=False,
        layout="constrained", height_ratios=heights,
    )  # fmt: skip
    for family, line in zip(families, axes, strict=True):
        for q, axis in zip(_SHOWN, line, strict=True):
            for place, (kind, quarter) in enumerate(labels[family]):
                if (family, kind, quarter, q) in by_key:
                    _draw_exponent(axis, place, by_key[family, kind, quarter, q])
            axis.set_yticks(
                range(len(labels[family])), [f"{kind} {quarter}/4" for kind, quarter in labels[family]], fontsize=7
            )
            axis.set_ylim(len(labels[family]) - 0.5, -0.5)
            axis.axvline(0, color="0.7", linewidth=0.8)
            axis.set_title(f"{family}: {q:.0%} of directions above", fontsize=9)
    # One badly known exponent must not squeeze the others.
    low, high = np.quantile([value for law in laws for value in (law.alpha, law.alpha_random)], (0.01, 0.99))
    margin = 0.35 * (high - low) + 0.05
    axes[0, 0].set_xlim(min(0.0, low) - margin, high + margin)
    for axis in axes[-1]:
        axis.set_xlabel(r"exponent $\alpha$, with interval; hollow: noise", fontsize=9)
    _save(figure, axes, file)


def plot_held_out(held_out: Sequence[HeldOut], file: Path) -> None:
    """A panel per family: predicted with interval over measured at the largest size, one point per type, depth and quantile."""
    families = list(dict.fromkeys(each.family for each in held_out))
    figure, axes = plt.subplots(
        1, len(families), figsize=(4.6 * len(families), 4.6), squeeze=False, layout="constrained"
    )
    for family, axis in zip(families, axes[0], strict=True):
        own = [each for each in held_out if each.family == family]
        for index, q in enumerate(QUANTILES):
            points = [each for each in own if each.quantile == q]
            below = [each.predicted - each.low for each in points]
            above = [each.high - each.predicted if math.isfinite(each.high) else 0.0 for each in points]
            axis.errorbar(
                [each.measured for each in points], [each.predicted for each in points], [below, above], fmt="o", markersize=3,
                elinewidth=0.5, color=plt.cm.viridis(index / 5), label=f"{q:.0%} of directions above",
            )  # fmt: skip
        measured = [each.measured for each in own]
        ends = (0.7 * min(measured), 1.4 * max(measured))
        axis.plot(ends, ends, color="0.3", linewidth=0.8)
        axis.set(
            xscale="log",
            yscale="log",
            xlim=ends,
            ylim=(ends[0] / 2, 2 * ends[1]),
            xlabel=r"measured $\sigma$",
            title=family,
        )
    axes[0, 0].set_ylabel("predicted from the smaller sizes")
    _save(figure, axes, file, 3)


def _rungs(curves: Sequence[Curve], family: str) -> list[str]:
    own = sorted({(curve.rung.parameters, curve.rung.name) for curve in curves if curve.rung.family == family})
    return [name for _, name in own]


def _draw_steps(axis: Any, curves: Sequence[Curve], plateau: PlateauConfig) -> None:
    steps = curves[0].steps
    last = plateau.to_step or steps[-1]
    axis.axvspan(0, plateau.from_step, color="0.92", label="burn-in")
    same = [curve for curve in curves if np.array_equal(curve.steps, steps)]
    for index, q in enumerate(QUANTILES):
        colour = plt.cm.viridis(index / 5)
        for curve in same:
            axis.plot(steps, np.exp(curve.log_sigma[:, index]), color=colour, linewidth=0.3, alpha=0.35)
        mean = np.mean([curve.log_sigma[:, index] for curve in same], axis=0)
        axis.plot(steps, np.exp(mean), color=colour, linewidth=2, label=f"{q:.0%} of directions above")
    axis.axhline(
        failure_threshold(FIXED_FIVE), color="grey", linestyle=":", linewidth=1, label="five fixed steps fail below"
    )
    axis.set_xlim(0, last)


def _draw_law(axis: Any, group: Group, law: Law) -> None:
    colour = plt.cm.viridis(QUANTILES.index(law.quantile) / 5)
    for index, seed in enumerate(sorted({run.seed for run in group.runs})):
        runs = [run for run in group.runs if run.seed == seed]
        axis.plot(
            [run.parameters for run in runs], [run.sigma for run in runs], _MARKERS[index % len(_MARKERS)], color=colour, markersize=3,
        )  # fmt: skip
    sizes = np.exp(group.log_size)
    axis.plot(
        sizes,
        [law.sigma(size) for size in sizes],
        color=colour,
        linewidth=1,
        label=f"{law.quantile:.0%} of directions above",
    )
    axis.plot(sizes, np.exp(group.log_random), color=colour, linewidth=0.8, linestyle=":")
    axis.tick_params(labelsize=7)


def _draw_exponent(axis: Any, place: int, law: Law) -> None:
    if math.isfinite(law.alpha_low):
        axis.plot([law.alpha_low, law.alpha_high], [place, place], color="tab:blue", linewidth=1)
    axis.plot(law.alpha, place, "o", color="tab:red" if law.quarter == len(QUARTERS) else "tab:blue", markersize=4)
    axis.plot(law.alpha_random, place, "o", color="0.4", markerfacecolor="none", markersize=4)


def _save(figure: Any, axes: Any, file: Path, columns: int = 7) -> None:
    handles = {
        text: handle for axis in axes.flat for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    if handles:
        figure.legend(
            handles.values(), handles.keys(), loc="outside upper center", ncols=min(columns, len(handles)), fontsize=8
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=90)
    plt.close(figure)
