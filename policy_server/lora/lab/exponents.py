"""Exponents of steps against size: straight lines through the logarithms, with a bootstrap over the instances."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from policy_server.lora.lab.draws import Purpose, generator
from policy_server.lora.lab.dynamics import Doubles

_FEWEST = 3


@dataclass(frozen=True)
class Exponent:
    """steps ≈ factor · size^value, and the interval ``low`` to ``high``; from ``used`` of ``instances``. NaN if those are too few."""

    value: float
    low: float
    high: float
    factor: float
    used: int
    instances: int


def fit_paired(
    sizes: Sequence[int], steps: Doubles, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Exponent:
    """For instances that are the same teacher at every size: the mean of the slopes of log ``steps`` (sizes, I) over log ``sizes``.

    How far teachers differ from each other does not blur it. Only instances that arrived at every size have a slope; they are counted.
    """
    arrived = np.isfinite(steps).all(axis=0)
    used = int(arrived.sum())
    if used < _FEWEST:
        return Exponent(np.nan, np.nan, np.nan, np.nan, used, steps.shape[1])
    slopes, intercepts = np.polyfit(np.log(np.asarray(sizes, np.float64)), np.log(steps[:, arrived]), 1)
    drawn = generator(seed, Purpose.BOOTSTRAP, len(sizes)).integers(0, used, (resamples, used))
    low, high = np.quantile(slopes[drawn].mean(axis=1), ((1 - confidence) / 2, (1 + confidence) / 2))
    factor = float(np.exp(intercepts.mean()))
    return Exponent(float(slopes.mean()), float(low), float(high), factor, used, steps.shape[1])


def fit_medians(
    sizes: Sequence[int], steps: Doubles, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Exponent:
    """For instances that are other teachers at every size: the slope of the log of the median ``steps`` (sizes, I) over log ``sizes``.

    An instance that never arrived counts as infinite, so all are used. Every size is resampled by itself; a resample with an infinite
    median has no slope, and counts at both ends of the interval.
    """
    count = steps.shape[1]
    value, factor = _line(sizes, _median(steps))
    if not np.isfinite(value):
        return Exponent(np.nan, np.nan, np.nan, np.nan, count, count)
    drawn = generator(seed, Purpose.BOOTSTRAP, len(sizes)).integers(0, count, (resamples, *steps.shape))
    slopes = np.array([_line(sizes, _median(np.take_along_axis(steps, chosen, axis=1)))[0] for chosen in drawn])
    known = np.isfinite(slopes)
    low = np.quantile(np.where(known, slopes, -np.inf), (1 - confidence) / 2, method="lower")
    high = np.quantile(np.where(known, slopes, np.inf), (1 + confidence) / 2, method="higher")
    return Exponent(value, float(low), float(high), factor, count, count)


def _median(steps: Doubles) -> Doubles:
    median: Doubles = np.quantile(steps, 0.5, axis=1, method="lower")
    return median


def _line(sizes: Sequence[int], steps: Doubles) -> tuple[float, float]:
    """Slope and factor; NaN when a median is infinite."""
    if not np.isfinite(steps).all():
        return float("nan"), float("nan")
    slope, intercept = np.polyfit(np.log(np.asarray(sizes, np.float64)), np.log(steps), 1)
    return float(slope), float(np.exp(intercept))
