"""The laws sigma_q = c · size^(-alpha), per family, layer type, depth quarter and quantile, and what holds them to account.

Least squares of log sigma_q over log size; the size is the number of parameters. The points of a fit are the rungs (means over the seeds),
since all seeds of a rung share how far the rung lies off the line; so the t-intervals count rungs, not runs.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from policy_server.ladder.plateau import PlateauValue
from policy_server.sweep.student_t import Estimate, Line, fit_line

PERMUTATIONS = 9999
LAST = 4  # the depth quarter that holds the last layer of each type

Key = tuple[str, str, int, float]


@dataclass(frozen=True)
class Law:
    """sigma_q = c · size^(-alpha); ``alpha_low`` to ``alpha_high`` is its interval, ``r2`` of the fit in logarithms.

    ``p``: share of relabelled ladders (sizes shuffled within each seed) whose exponent is as far from zero, the negative control.
    ``alpha_random``: exponent for noise in matrices of these shapes; ``excess`` with its interval is how much steeper the law is.
    """

    family: str
    type: str
    quarter: int
    quantile: float
    sizes: int
    c: float
    alpha: float
    alpha_low: float
    alpha_high: float
    r2: float
    p: float
    alpha_random: float
    excess: float
    excess_low: float
    excess_high: float

    def sigma(self, parameters: float) -> float:
        return self.c * parameters**-self.alpha


@dataclass(frozen=True)
class HeldOut:
    """The largest size, predicted from the smaller ones: sigma_q with its prediction interval, and what was measured.

    ``unchanged`` and ``normalised`` are what one would guess without a law: the value of the next smaller size, as it is, or scaled as
    that of noise in matrices of these shapes.
    """

    family: str
    type: str
    quarter: int
    quantile: float
    parameters: int
    measured: float
    predicted: float
    low: float
    high: float
    unchanged: float
    normalised: float

    @property
    def is_within(self) -> bool:
        return self.low <= self.measured <= self.high


@dataclass(frozen=True)
class Steepness:
    """How much larger the exponent of the last quarter is than the mean one of the quarters before it, for one type and quantile."""

    family: str
    type: str
    quantile: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Group:
    """What one law is fitted to: per rung, in the order of size, log size, mean log sigma_q and log of noise; and every run's value."""

    key: Key
    log_size: NDArray[np.float64]
    log_sigma: NDArray[np.float64]
    log_random: NDArray[np.float64]
    runs: tuple[PlateauValue, ...]


def group_values(values: Iterable[PlateauValue]) -> list[Group]:
    """Groups that have two sizes or more. A quantile that is at rounding in one of its runs has no law: its group is left out."""
    by_key: dict[Key, list[PlateauValue]] = {}
    for value in values:
        by_key.setdefault((value.family, value.type, value.quarter, value.quantile), []).append(value)
    kept = {key: own for key, own in by_key.items() if not any(value.rank_deficient for value in own)}
    groups = [_group(key, own) for key, own in sorted(kept.items())]
    return [group for group in groups if len(group.log_size) > 1]


def fit_law(group: Group, confidence: float) -> Law:
    line = fit_line(group.log_size, group.log_sigma)
    alpha = _negated(line.slope_estimate(confidence))
    excess = _negated(fit_line(group.log_size, group.log_sigma - group.log_random).slope_estimate(confidence))
    return Law(
        *group.key,
        sizes=len(group.log_size),
        c=math.exp(line.intercept),
        alpha=alpha.value,
        alpha_low=alpha.low,
        alpha_high=alpha.high,
        r2=line.r2,
        p=permutation_p(group.runs),
        alpha_random=-fit_line(group.log_size, group.log_random).slope,
        excess=excess.value,
        excess_low=excess.low,
        excess_high=excess.high,
    )


def hold_out_largest(group: Group, confidence: float) -> HeldOut | None:
    """None with fewer than four sizes: three points are the least that a line can miss."""
    if len(group.log_size) < 4:
        return None
    line: Line = fit_line(group.log_size[:-1], group.log_sigma[:-1])
    predicted = line.prediction(group.log_size[-1], confidence)
    before = float(group.log_sigma[-2])
    return HeldOut(
        *group.key,
        parameters=max(run.parameters for run in group.runs),
        measured=math.exp(group.log_sigma[-1]),
        predicted=math.exp(predicted.value),
        low=math.exp(predicted.low),
        high=math.exp(predicted.high),
        unchanged=math.exp(before),
        normalised=math.exp(before + group.log_random[-1] - group.log_random[-2]),
    )


def last_quarters(groups: Sequence[Group], confidence: float) -> list[Steepness]:
    """Types that have layers in the last quarter and before it. Both are measured in the same runs, so their ratio is fitted."""
    by_key = {group.key: group for group in groups}
    found = []
    for (family, kind, quarter, q), last in by_key.items():
        if quarter != LAST:
            continue
        before = [by_key[key] for number in range(1, LAST) if (key := (family, kind, number, q)) in by_key]
        before = [group for group in before if np.array_equal(group.log_size, last.log_size)]
        if before:
            ratio = last.log_sigma - np.mean([group.log_sigma for group in before], axis=0)
            difference = _negated(fit_line(last.log_size, ratio).slope_estimate(confidence))
            found.append(Steepness(family, kind, q, difference.value, difference.low, difference.high))
    return found


def permutation_p(runs: Sequence[PlateauValue]) -> float:
    """Two-sided p of the exponent if the size did not matter: sizes are shuffled among the runs of each seed."""
    sigma = np.log([run.sigma for run in runs])
    sigma = sigma - sigma.mean()
    # The spread of the sizes stays, so the slope goes with this product.
    observed = abs(float(np.log([run.parameters for run in runs]) @ sigma))
    drawn = np.abs(_shuffled_sizes(tuple((run.parameters, run.seed) for run in runs)) @ sigma)
    return float((1 + np.sum(drawn >= observed * (1 - 1e-12))) / (1 + PERMUTATIONS))


@lru_cache(maxsize=64)
def _shuffled_sizes(runs: tuple[tuple[int, int], ...]) -> NDArray[np.float64]:
    """(draws, runs): log sizes of (size, seed) pairs, shuffled within each seed; all laws of one family have the same runs."""
    generator = np.random.default_rng(0)
    shuffled = np.tile(np.log([size for size, _ in runs]), (PERMUTATIONS, 1))
    for seed in {seed for _, seed in runs}:
        own = np.flatnonzero([other == seed for _, other in runs])
        shuffled[:, own] = generator.permuted(shuffled[:, own], axis=1)
    return shuffled


def predicted_quantiles(
    laws: Iterable[Law], family: str, parameters: float
) -> dict[tuple[str, int], dict[float, float]]:
    """(type, quarter) → share of the directions → sigma at this size, where a quantile has a law.

    Those without one lie at rounding: directions that need no orthonormalisation.
    """
    found: dict[tuple[str, int], dict[float, float]] = {}
    for law in laws:
        if law.family == family:
            found.setdefault((law.type, law.quarter), {})[law.quantile] = law.sigma(parameters)
    return {key: descending(quantiles) for key, quantiles in found.items()}


def descending(quantiles: dict[float, float]) -> dict[float, float]:
    """Laws that are fitted one by one may cross far from their points; a spectrum cannot."""
    shares = sorted(quantiles)
    levels = np.minimum.accumulate([quantiles[share] for share in shares])
    return dict(zip(shares, levels.tolist(), strict=True))


def _group(key: Key, values: Sequence[PlateauValue]) -> Group:
    sizes = sorted({value.parameters for value in values})

    def means(numbers: dict[int, list[float]]) -> NDArray[np.float64]:
        return np.array([np.mean(numbers[size]) for size in sizes])

    sigma: dict[int, list[float]] = {size: [] for size in sizes}
    random: dict[int, list[float]] = {size: [] for size in sizes}
    for value in values:
        sigma[value.parameters].append(math.log(value.sigma))
        random[value.parameters].append(math.log(value.random))
    return Group(key, np.log(np.array(sizes, np.float64)), means(sigma), means(random), tuple(values))


def _negated(slope: Estimate) -> Estimate:
    return Estimate(-slope.value, -slope.high, -slope.low)
