"""Contestants against each other, seed by seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from policy_server.comparison.runs import Run
from policy_server.sweep.student_t import Estimate, mean_estimate


@dataclass(frozen=True)
class PairRow:
    """``a``'s loss over ``b``'s on one policy, the geometric mean over the ``seeds`` that both have, with its t-interval: of the
    validation loss, and of the training loss at the end."""

    policy: str
    a: str
    b: str
    seeds: int
    validation: float
    validation_low: float
    validation_high: float
    training: float
    training_low: float
    training_high: float

    @property
    def verdict(self) -> str:
        """What the interval of the validation loss says, in words."""
        if self.validation_high < 1:
            return f"{self.a} is better"
        if self.validation_low > 1:
            return f"{self.b} is better"
        return "no difference shown"


def compare_pairs(runs: Sequence[Run], pairs: Sequence[tuple[str, str]], confidence: float) -> list[PairRow]:
    """For each policy and pair that has runs of one seed in common; ``runs`` are done."""
    rows = []
    for policy in dict.fromkeys(run.policy for run in runs):
        by_key = {(run.contestant, run.seed): run for run in runs if run.policy == policy}
        for a, b in pairs:
            seeds = sorted({seed for name, seed in by_key if name == a} & {seed for name, seed in by_key if name == b})
            both = [(by_key[a, seed].measurement, by_key[b, seed].measurement) for seed in seeds]
            if both:
                validation = _ratio([(own.validation_loss, other.validation_loss) for own, other in both], confidence)
                training = _ratio([(own.final_loss, other.final_loss) for own, other in both], confidence)
                rows.append(PairRow(policy, a, b, len(seeds), *_numbers(validation), *_numbers(training)))
    return rows


def _ratio(losses: Sequence[tuple[float, float]], confidence: float) -> Estimate:
    """Differences of logarithms are paired: a seed that is hard for both cancels."""
    mean = mean_estimate([math.log(own / other) for own, other in losses], confidence)
    low, high = (math.exp(bound) if bound < math.inf else math.inf for bound in (mean.low, mean.high))
    return Estimate(math.exp(mean.value), low, high)


def _numbers(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high
