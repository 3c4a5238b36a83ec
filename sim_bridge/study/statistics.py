"""Paired comparison of two policies on the same episodes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """A paired difference in success rate, a minus b.

    Attributes:
        pairs: episodes that both ran.
        only_a, only_b: of these, how many one of them alone solved.
        interval: 95 % bootstrap interval of the difference.
        p: McNemar's exact two-sided test.
    """

    pairs: int
    successes_a: int
    successes_b: int
    only_a: int
    only_b: int
    interval: tuple[float, float]
    p: float

    @property
    def difference(self) -> float:
        return (self.successes_a - self.successes_b) / self.pairs


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Exact two-sided p of McNemar's test: of the episodes in which one policy alone succeeded, either is as likely it.

    McNemar 1947; the exact form is the sign test on the discordant pairs. 1.0 when there are none.
    """
    discordant = only_a + only_b
    tail = sum(math.comb(discordant, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, float(2 * tail / 2**discordant))


def paired_difference(blocks: Sequence[tuple[NDArray[np.int8], NDArray[np.int8]]]) -> Difference:
    """Compare a with b, pooled over ``blocks``: of each (a, b), int8 0/1 (S, E): S training seeds, E episodes on the same worlds.

    The interval is a bootstrap that draws training seeds and episodes anew in each block (blocks, such as tasks, stay): with few
    training seeds it says little of how training varies.

    Raises:
        ValueError: no blocks, or a and b of another shape.
    """
    if not blocks or any(a.shape != b.shape or a.ndim != 2 or not a.size for a, b in blocks):
        raise ValueError(f"blocks {[(a.shape, b.shape) for a, b in blocks]}: give pairs of equal shape (S, E)")
    only_a = sum(int(((a == 1) & (b == 0)).sum()) for a, b in blocks)
    only_b = sum(int(((a == 0) & (b == 1)).sum()) for a, b in blocks)
    return Difference(
        pairs=sum(a.size for a, _ in blocks),
        successes_a=sum(int(a.sum()) for a, _ in blocks),
        successes_b=sum(int(b.sum()) for _, b in blocks),
        only_a=only_a,
        only_b=only_b,
        interval=_bootstrap([a.astype(np.float64) - b for a, b in blocks]),
        p=mcnemar_p(only_a, only_b),
    )


def _bootstrap(differences: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Percentile interval of the pooled mean; each difference is float64 (S, E)."""
    generator = np.random.default_rng(0)
    total = np.zeros(RESAMPLES)
    for block in differences:
        seeds, episodes = (generator.multinomial(n, np.full(n, 1 / n), RESAMPLES) for n in block.shape)
        total += np.einsum("rs,se,re->r", seeds, block, episodes, optimize=True)
    low, high = np.quantile(total / sum(block.size for block in differences), (0.025, 0.975))
    return float(low), float(high)
