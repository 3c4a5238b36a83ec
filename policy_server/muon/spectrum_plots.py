"""Pictures of a spectrum log: quantiles over steps (burn-in and plateau), and the spectra of all layers at one step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from policy_server.muon.recipe import FIXED_FIVE
from policy_server.muon.response import failure_threshold
from policy_server.muon.spectrum import QUANTILES, quantile
from policy_server.muon.spectrum_log import SpectrumRow

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_QUARTERS = ("first quarter", "second", "third", "last")
_COLOURS = ("tab:blue", "tab:green", "tab:orange", "tab:red")


def plot_quantiles(rows: Sequence[SpectrumRow], file: Path) -> None:
    """One panel per layer type and depth quarter: the median over its layers of each quantile, over the steps."""
    types = sorted({row.type for row in rows})
    figure, axes = plt.subplots(
        len(types),
        4,
        figsize=(13, 2.3 * len(types) + 0.8),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for kind, line in zip(types, axes, strict=True):
        for quarter, axis in enumerate(line, start=1):
            own = [row for row in rows if row.type == kind and row.quarter == quarter]
            axis.set_visible(bool(own))
            _draw_quantiles(axis, own)
            axis.set_title(f"{kind}, {_QUARTERS[quarter - 1]}", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("step")
    for axis in axes[:, 0]:
        axis.set_ylabel("singular value of M/‖M‖")
    handles = {
        text: handle for axis in axes.flat for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles), fontsize=9)
    figure.savefig(file, dpi=100)
    plt.close(figure)


def plot_spectra(rows: Sequence[SpectrumRow], step: int, file: Path) -> None:
    """One panel per layer type: the spectrum of every layer at ``step`` over the share of its rank, coloured by depth."""
    own = [row for row in rows if row.step == step]
    types = sorted({row.type for row in own})
    columns = min(4, len(types))
    lines = -(-len(types) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(3.4 * columns, 3 * lines + 0.6), sharey=True, squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(types) :]:
        axis.set_visible(False)
    for kind, axis in zip(types, axes.flat, strict=False):
        for row in (row for row in own if row.type == kind and row.sigma[0] > 0):
            share = np.arange(1, len(row.sigma) + 1) / len(row.sigma)
            axis.semilogy(share, np.maximum(row.sigma, 1e-9), color=_COLOURS[row.quarter - 1], linewidth=0.8, alpha=0.7)
        _draw_threshold(axis)
        axis.set_title(kind, fontsize=9)
        axis.set_xlabel("share of the directions")
    axes[0, 0].set_ylabel("singular value of M/‖M‖")
    for name, colour in zip(_QUARTERS, _COLOURS, strict=True):
        axes[0, 0].plot([], [], color=colour, label=name)
    handles, texts = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper center", ncols=len(texts), fontsize=9)
    figure.savefig(file, dpi=100)
    plt.close(figure)


def _draw_quantiles(axis: Any, rows: Sequence[SpectrumRow]) -> None:
    steps = sorted({row.step for row in rows})
    for index, q in enumerate(QUANTILES):
        medians = [np.median([quantile(row.sigma, q) for row in rows if row.step == step]) for step in steps]
        if medians:
            axis.semilogy(
                steps, np.maximum(medians, 1e-9), color=plt.cm.viridis(index / 5), label=f"{q:.0%} of directions above"
            )
    _draw_threshold(axis)


def _draw_threshold(axis: Any) -> None:
    axis.axhline(
        failure_threshold(FIXED_FIVE), color="grey", linestyle=":", linewidth=1, label="five fixed steps fail below"
    )
