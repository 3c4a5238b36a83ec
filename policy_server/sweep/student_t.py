"""Intervals of few measurements: Student's t, for means of paired differences and for straight lines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t


@dataclass(frozen=True)
class Estimate:
    """A value with the interval that holds it with the confidence asked for."""

    value: float
    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def mean_estimate(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The mean of independent measurements, t-interval with n - 1 degrees of freedom; infinite for one measurement."""
    mean, count = float(np.mean(values)), len(values)
    half = math.inf
    if count > 1:
        half = quantile(count - 1, confidence) * float(np.std(values, ddof=1)) / math.sqrt(count)
    return Estimate(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Line:
    """y = intercept + slope x by least squares over ``count`` points; ``deviation`` is that of the residuals (n - 2 in the
    denominator), ``spread`` is Σ (x - mean x)²."""

    intercept: float
    slope: float
    count: int
    mean_x: float
    spread: float
    deviation: float
    r2: float

    def slope_estimate(self, confidence: float = 0.95) -> Estimate:
        """t-interval with n - 2 degrees of freedom; infinite for two points."""
        half = self._factor(confidence, self.deviation / math.sqrt(self.spread))
        return Estimate(self.slope, self.slope - half, self.slope + half)

    def prediction(self, x: float, confidence: float = 0.95) -> Estimate:
        """Where one more point at ``x`` lies, scattered about the line as those it was fitted to."""
        value = self.intercept + self.slope * x
        relative = math.sqrt(1 + 1 / self.count + (x - self.mean_x) ** 2 / self.spread)
        half = self._factor(confidence, self.deviation * relative)
        return Estimate(value, value - half, value + half)

    def _factor(self, confidence: float, deviation: float) -> float:
        return quantile(self.count - 2, confidence) * deviation if self.count > 2 else math.inf


def fit_line(x: ArrayLike, y: ArrayLike) -> Line:
    """Least squares over at least two different ``x``."""
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    centred = xs - xs.mean()
    spread = float(centred @ centred)
    slope = float(centred @ ys) / spread
    intercept = float(ys.mean() - slope * xs.mean())
    rest = float(np.sum((ys - intercept - slope * xs) ** 2))
    total = float(np.sum((ys - ys.mean()) ** 2))
    deviation = math.sqrt(rest / (len(xs) - 2)) if len(xs) > 2 else math.inf
    return Line(
        intercept, slope, len(xs), float(xs.mean()), spread, deviation, 1 - rest / total if total > 0 else math.nan
    )


@lru_cache(maxsize=1024)
def quantile(degrees: int, confidence: float) -> float:
    """What a two-sided interval of this confidence is as many standard errors wide, to either side."""
    return float(t.ppf(0.5 + confidence / 2, degrees))
