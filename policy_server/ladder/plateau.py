"""From spectrum logs to one number per run, layer type, depth and quantile: the geometric mean over the plateau."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policy_server.ladder.configuration import PlateauConfig
from policy_server.ladder.random_spectrum import random_quantile
from policy_server.ladder.rungs import Rung
from policy_server.muon.errors import SpectrumError
from policy_server.muon.recipe import ROUNDING
from policy_server.muon.spectrum import QUANTILES, quantile
from policy_server.muon.spectrum_log import SpectrumRow, read_spectra

Series = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """How the quantiles of one layer type and depth went in one run: ``steps`` (n,), ``log_sigma`` (n, quantiles), the mean of
    log sigma_q over its matrices; ``log_random`` (quantiles,), the same for noise in matrices of these shapes; ``deficient``
    (n, quantiles): whether the quantile of one of them lay at rounding."""

    rung: Rung
    type: str
    quarter: int
    matrices: int
    steps: Series
    log_sigma: Series
    log_random: Series
    deficient: NDArray[np.bool_]


@dataclass(frozen=True)
class PlateauValue:
    """sigma_q of one run, layer type and depth quarter: the geometric mean over matrices and over the measurements of the plateau.

    ``random``: the same for noise in matrices of these shapes. ``burn_in``: log of the first measurement over the plateau.
    ``drift``: change of log sigma_q from the plateau's begin to its end, along a straight line over the steps. ``rank_deficient``: at
    some measurement the quantile lay at rounding.
    """

    family: str
    rung: str
    seed: int
    parameters: int
    type: str
    quarter: int
    matrices: int
    quantile: float
    sigma: float
    random: float
    burn_in: float
    drift: float
    rank_deficient: bool


def read_curves(rung: Rung) -> list[Curve]:
    """All layer types and depths of one run. Raises SpectrumError: no spectra, or damaged ones."""
    groups: dict[tuple[str, int], list[SpectrumRow]] = {}
    for row in read_spectra(rung.spectrum):
        groups.setdefault((row.type, row.quarter), []).append(row)
    return [_curve(rung, kind, quarter, rows) for (kind, quarter), rows in sorted(groups.items())]


def plateau_values(curves: Iterable[Curve], config: PlateauConfig) -> list[PlateauValue]:
    """Every quantile of every curve. Raises SpectrumError: fewer than three measurements on a plateau."""
    return [value for curve in curves for value in _values(curve, config)]


def is_plateau(steps: Series, config: PlateauConfig) -> NDArray[np.bool_]:
    """Which of the measured ``steps`` count."""
    last = config.to_step or np.inf
    return (steps >= config.from_step) & (steps <= last)


def _curve(rung: Rung, kind: str, quarter: int, rows: Sequence[SpectrumRow]) -> Curve:
    steps = sorted({row.step for row in rows})
    place = {step: index for index, step in enumerate(steps)}
    total, count = np.zeros((len(steps), len(QUANTILES))), np.zeros(len(steps))
    deficient = np.zeros(total.shape, bool)
    for row in rows:
        sigma = np.array([quantile(row.sigma, q) for q in QUANTILES])
        total[place[row.step]] += np.log(np.maximum(sigma, ROUNDING))
        deficient[place[row.step]] |= sigma <= 2 * ROUNDING
        count[place[row.step]] += 1
    shapes = [(row.rows, row.columns) for row in rows if row.step == steps[-1]]
    random = np.mean([[np.log(random_quantile(*shape, q)) for q in QUANTILES] for shape in shapes], axis=0)
    mean = total / count[:, None]
    return Curve(rung, kind, quarter, len(shapes), np.array(steps, np.float64), mean, random, deficient)


def _values(curve: Curve, config: PlateauConfig) -> Iterable[PlateauValue]:
    chosen = is_plateau(curve.steps, config)
    steps, plateau = curve.steps[chosen], curve.log_sigma[chosen]
    rung = curve.rung
    if len(steps) < 3:
        raise SpectrumError(
            f"'{rung.spectrum}' has {len(steps)} measurements from step {config.from_step} on: the plateau needs three"
        )
    centred = steps - steps.mean()
    drift = (centred @ plateau) / (centred @ centred) * (steps[-1] - steps[0])
    for index, q in enumerate(QUANTILES):
        level = float(plateau[:, index].mean())
        yield PlateauValue(
            family=rung.family,
            rung=rung.name,
            seed=rung.seed,
            parameters=rung.parameters,
            type=curve.type,
            quarter=curve.quarter,
            matrices=curve.matrices,
            quantile=q,
            sigma=float(np.exp(level)),
            random=float(np.exp(curve.log_random[index])),
            burn_in=float(curve.log_sigma[0, index] - level),
            drift=float(drift[index]),
            rank_deficient=bool(curve.deficient[chosen, index].any()),
        )
