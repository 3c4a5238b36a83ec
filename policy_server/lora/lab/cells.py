"""The cells of a laboratory run, and which of them are advanced together."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product

from policy_server.lora.lab.configuration import LabConfig, SeriesConfig


@dataclass(frozen=True)
class Cell:
    """One setting, of which every instance is run. ``strength`` is ξ, ``step_size`` η, ``steps`` the most it may take."""

    series: str
    settings: SeriesConfig
    dimension: int
    neurons: int
    strength: float
    scale: float
    step_size: float
    steps: int

    @property
    def kappa(self) -> float:
        """ξ²/k: how much longer the perturbation makes a row, squared."""
        return self.strength**2 / self.neurons

    @property
    def sides(self) -> tuple[int, ...]:
        """Starts of the two-sided search: u₀ and -u₀; students from random weights have one."""
        return (1,) if self.settings.student in ("correlational", "scratch") else (1, -1)


@dataclass(frozen=True)
class Group:
    """Cells that differ only in what may differ within one batch; ``fingerprint`` changes with everything that changes its results."""

    name: str
    cells: tuple[Cell, ...]
    fingerprint: str

    @property
    def settings(self) -> SeriesConfig:
        """Of any of its cells: what a batch reads from here is the same in all."""
        return self.cells[0].settings

    @property
    def neurons(self) -> int:
        return self.cells[0].neurons

    @property
    def steps(self) -> int:
        return max(cell.steps for cell in self.cells)


def make_cells(series: Mapping[str, SeriesConfig]) -> list[Cell]:
    return [
        _cell(name, settings, *values)
        for name, settings in series.items()
        for values in product(settings.dimensions, settings.neurons, settings.strengths, settings.scales)
    ]


def make_groups(config: LabConfig, cells: Sequence[Cell]) -> list[Group]:
    """Cells by what the batch must have in common, in order of first mention."""
    grouped: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        grouped.setdefault(_batch_key(cell), []).append(cell)
    return [_group(config, tuple(members)) for members in grouped.values()]


def _cell(name: str, settings: SeriesConfig, d: int, k: int, strength: float, scale: float) -> Cell:
    xi = strength * math.sqrt(k) if settings.strength_unit == "sqrt_k" else strength
    kappa = xi**2 / k
    signal = 1.0 if settings.student in ("correlational", "scratch") else (1 + kappa) / kappa
    eta = scale * signal * d**-settings.d_power * k**-settings.k_power
    steps = min(settings.max_steps, math.ceil(settings.horizon / eta))
    return Cell(name, settings, d, k, xi, scale, eta, steps)


def _batch_key(cell: Cell) -> tuple[object, ...]:
    settings = cell.settings
    common = (
        settings.student,
        settings.activation,
        settings.method,
        settings.rows,
        settings.coefficients,
        settings.normalise,
    )
    needs_one_dimension = settings.method == "plain" or settings.student == "scratch"
    return (*common, cell.neurons, cell.dimension if needs_one_dimension else None)


def _group(config: LabConfig, cells: tuple[Cell, ...]) -> Group:
    settings = {
        "cells": [asdict(cell) for cell in cells],
        **{name: getattr(config, name) for name in ("seed", "instances", "threshold", "precision", "block_steps")},
    }
    fingerprint = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
    first = cells[0]
    series = re.sub(r"\W+", "_", first.series)
    return Group(f"{series}-d{first.dimension}-k{first.neurons}-{fingerprint}", cells, fingerprint)
