"""Pictures of a comparison: loss curves, validation losses seed by seed, times; and the stress case."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from policy_server.comparison.measurement import read_loss_curve
from policy_server.comparison.runs import Run
from policy_server.comparison.stress import LEVEL, STRONG, Stress

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, told apart with any colour vision."""
_SMOOTHED = 5  # points of ten steps each


def plot_comparison(runs: Sequence[Run], step_s: Mapping[str, Mapping[str, float]], file: Path) -> None:
    """A row per policy: training loss (thin: single seeds), validation loss of each seed, time of a step and of its optimizer's part."""
    policies = list(dict.fromkeys(run.policy for run in runs))
    contestants = list(dict.fromkeys(run.contestant for run in runs))
    figure, axes = plt.subplots(
        len(policies), 3, figsize=(13, 3.4 * len(policies)), squeeze=False, layout="constrained", width_ratios=(2, 1, 1)
    )
    for policy, (curves, losses, times) in zip(policies, axes, strict=True):
        own = [run for run in runs if run.policy == policy]
        _draw_curves(curves, own, contestants)
        _draw_losses(losses, own, contestants)
        _draw_times(times, own, contestants, step_s.get(policy, {}))
        curves.set_title(policy, fontsize=10)
    figure.savefig(file, dpi=100)
    plt.close(figure)


def plot_stress(stress: Stress, file: Path) -> None:
    """What comes out of the planted matrix, direction by direction, and the training along its weak directions."""
    figure, (outputs, distances) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
    directions = np.arange(1, len(stress.inputs) + 1)
    outputs.semilogy(directions, stress.inputs, color="0.6", label="in: singular value of M/‖M‖")
    for contestant, colour in zip(stress.contestants, COLOURS, strict=False):
        outputs.semilogy(
            directions, contestant.outputs, ".", markersize=5, color=colour, label=f"out: {contestant.name}"
        )
        distances.plot(contestant.distance, color=colour, label=contestant.name)
    outputs.axhline(LEVEL, color="0.5", linestyle=":", linewidth=1)
    outputs.axvspan(STRONG + 0.5, len(directions) + 0.5, color="0.94")
    outputs.set(xlabel="direction; shaded: planted below the threshold", ylabel="singular value")
    outputs.legend(fontsize=8)
    distances.set(xlabel="optimizer step", ylabel="distance left, weak directions", ylim=(0, 1.05))
    distances.legend(fontsize=8)
    figure.savefig(file, dpi=100)
    plt.close(figure)


def _draw_curves(axis: Any, runs: Sequence[Run], contestants: Sequence[str]) -> None:
    for name, colour in zip(contestants, COLOURS, strict=False):
        curves = [read_loss_curve(run.training.output) for run in runs if run.contestant == name]
        for curve in curves:
            axis.semilogy(_smoothed(curve.steps), _smoothed(curve.losses), color=colour, linewidth=0.5, alpha=0.6)
        if curves:
            steps, mean = curves[0].steps, np.mean([curve.losses for curve in curves], axis=0)
            axis.semilogy(_smoothed(steps), _smoothed(mean), color=colour, linewidth=1.8, label=name)
    axis.set(xlabel="step", ylabel="training loss")
    axis.legend(fontsize=8)


def _draw_losses(axis: Any, runs: Sequence[Run], contestants: Sequence[str]) -> None:
    for seed in sorted({run.seed for run in runs}):
        own = {run.contestant: run.measurement.validation_loss for run in runs if run.seed == seed}
        places = [place for place, name in enumerate(contestants) if name in own]
        axis.plot(places, [own[contestants[place]] for place in places], color="0.8", linewidth=0.8, zorder=1)
        axis.scatter(
            places, [own[contestants[place]] for place in places], c=[COLOURS[p % len(COLOURS)] for p in places], s=16
        )
    axis.set_yscale("log")
    axis.set_xticks(range(len(contestants)), contestants, rotation=30, ha="right", fontsize=8)
    axis.set_ylabel("validation loss, lines: seeds")


def _draw_times(axis: Any, runs: Sequence[Run], contestants: Sequence[str], step_s: Mapping[str, float]) -> None:
    for place, name in enumerate(contestants):
        whole = [1000 * run.measurement.step_s for run in runs if run.contestant == name]
        if whole:
            axis.bar(place, np.median(whole), color=COLOURS[place % len(COLOURS)], alpha=0.35)
        if name in step_s:
            axis.bar(place, 1000 * step_s[name], color=COLOURS[place % len(COLOURS)])
    axis.set_xticks(range(len(contestants)), contestants, rotation=30, ha="right", fontsize=8)
    axis.set_ylabel("ms per step; dark: optimizer")


def _smoothed(values: Any) -> Any:
    """Moving mean, for the eye."""
    width = max(1, min(_SMOOTHED, len(values) // 10))
    return np.convolve(values, np.full(width, 1 / width), mode="valid")
