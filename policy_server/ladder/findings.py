"""What a ladder found, as the numbers that answer the paper's three claims: plateau, power law, steep last layers."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from policy_server.ladder.laws import HeldOut, Law, Steepness
from policy_server.ladder.plateau import PlateauValue

Item = TypeVar("Item")
Key = TypeVar("Key")


@dataclass(frozen=True)
class PlateauFinding:
    """Medians over types, depths and runs of one family and quantile, as factors of sigma_q: ``burn_in`` between the first measurement and
    the plateau, ``drift`` from the plateau's begin to its end; ``drift_90`` is exceeded by a tenth of them."""

    family: str
    quantile: float
    burn_in: float
    drift: float
    drift_90: float


@dataclass(frozen=True)
class LawFinding:
    """Counts over the laws of one family and quantile; ``rising`` and ``falling``: exponent's interval without zero, above or below;
    ``beyond_noise``: interval of the excess without zero; ``p_small``: permutation test below one in twenty."""

    family: str
    quantile: float
    laws: int
    alpha: float
    alpha_least: float
    alpha_most: float
    r2: float
    falling: int
    rising: int
    p_small: int
    alpha_random: float
    beyond_noise: int


@dataclass(frozen=True)
class HeldOutFinding:
    """Predictions of the largest size of one family: share within their intervals, and the median factor by which three guesses are
    off; ``width`` is the median factor from an interval's middle to its end."""

    family: str
    predictions: int
    within: int
    off: float
    off_unchanged: float
    off_normalised: float
    width: float


@dataclass(frozen=True)
class SteepFinding:
    """Last against earlier quarters, of one family: how often the difference of the exponents has an interval above or below zero."""

    family: str
    compared: int
    median: float
    steeper: int
    flatter: int


def plateau_findings(values: Sequence[PlateauValue]) -> list[PlateauFinding]:
    def finding(family: str, q: float, own: Sequence[PlateauValue]) -> PlateauFinding:
        drifts = sorted(abs(value.drift) for value in own)
        ninth = drifts[math.ceil(0.9 * len(drifts)) - 1]
        burn_in = median(abs(value.burn_in) for value in own)
        return PlateauFinding(family, q, math.exp(burn_in), math.exp(median(drifts)), math.exp(ninth))

    kept = [value for value in values if not value.rank_deficient]
    return [finding(*key, own) for key, own in _grouped(kept, lambda value: (value.family, value.quantile))]


def law_findings(laws: Sequence[Law]) -> list[LawFinding]:
    return [
        LawFinding(
            family,
            q,
            laws=len(own),
            alpha=median(law.alpha for law in own),
            alpha_least=min(law.alpha for law in own),
            alpha_most=max(law.alpha for law in own),
            r2=median(law.r2 for law in own),
            falling=sum(law.alpha_low > 0 for law in own),
            rising=sum(law.alpha_high < 0 for law in own),
            p_small=sum(law.p < 0.05 for law in own),
            alpha_random=median(law.alpha_random for law in own),
            beyond_noise=sum(law.excess_low > 0 or law.excess_high < 0 for law in own),
        )
        for (family, q), own in _grouped(laws, lambda law: (law.family, law.quantile))
    ]


def held_out_findings(held_out: Sequence[HeldOut]) -> list[HeldOutFinding]:
    def off(own: Sequence[HeldOut], guess: Callable[[HeldOut], float]) -> float:
        return math.exp(median(abs(math.log(guess(each) / each.measured)) for each in own))

    return [
        HeldOutFinding(
            family,
            predictions=len(own),
            within=sum(each.is_within for each in own),
            off=off(own, lambda each: each.predicted),
            off_unchanged=off(own, lambda each: each.unchanged),
            off_normalised=off(own, lambda each: each.normalised),
            width=median(each.high / each.predicted for each in own),
        )
        for family, own in _grouped(held_out, lambda each: each.family)
    ]


def steep_findings(steepness: Sequence[Steepness]) -> list[SteepFinding]:
    return [
        SteepFinding(
            family,
            compared=len(own),
            median=median(each.difference for each in own),
            steeper=sum(each.low > 0 for each in own),
            flatter=sum(each.high < 0 for each in own),
        )
        for family, own in _grouped(steepness, lambda each: each.family)
    ]


def _grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> list[tuple[Key, list[Item]]]:
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.items())
