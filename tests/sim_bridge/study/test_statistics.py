import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_bridge.study.statistics import mcnemar_p, paired_difference

counts = st.integers(0, 60)


def tail_by_enumeration(only_a: int, only_b: int) -> float:
    """Both tails of the sign test, by going through all outcomes."""
    pairs = only_a + only_b
    extreme = [k for k in range(pairs + 1) if abs(k - pairs / 2) >= abs(only_a - pairs / 2)]
    return sum(math.comb(pairs, k) for k in extreme) / 2**pairs


@given(counts, counts)
def test_mcnemar_is_the_sign_test_on_the_discordant_pairs(only_a: int, only_b: int) -> None:
    assert mcnemar_p(only_a, only_b) == pytest.approx(tail_by_enumeration(only_a, only_b))


@pytest.mark.parametrize(("only_a", "only_b", "p"), [(0, 0, 1.0), (0, 5, 0.0625), (1, 8, 0.0390625), (7, 7, 1.0)])
def test_mcnemar_gives_known_values(only_a: int, only_b: int, p: float) -> None:
    assert mcnemar_p(only_a, only_b) == pytest.approx(p)


@given(counts, counts, st.integers(1, 20))
def test_a_more_lopsided_result_is_never_less_significant(only_a: int, only_b: int, more: int) -> None:
    low, high = sorted((only_a, only_b))
    assert mcnemar_p(low, high + more) <= mcnemar_p(low, high) + 1e-12


def outcomes(*seeds: str) -> np.ndarray:
    return np.array([[int(character) for character in seed] for seed in seeds], np.int8)


def test_pairs_are_counted_episode_by_episode() -> None:
    difference = paired_difference([(outcomes("1101", "1111"), outcomes("1010", "0111"))])
    assert (difference.pairs, difference.only_a, difference.only_b) == (8, 3, 1)
    assert (difference.successes_a, difference.successes_b) == (7, 5)
    assert difference.difference == pytest.approx(0.25)
    assert difference.p == mcnemar_p(3, 1)


def test_blocks_are_pooled_by_their_episodes() -> None:
    blocks = [(outcomes("11"), outcomes("00")), (outcomes("000000"), outcomes("000000"))]
    difference = paired_difference(blocks)
    assert (difference.pairs, difference.difference) == (8, 0.25)
    assert difference.interval[1] == pytest.approx(0.25)  # the first block has nothing else to draw


def test_policies_that_do_the_same_differ_by_nothing() -> None:
    same = outcomes("1100110")
    difference = paired_difference([(same, same)])
    assert (difference.difference, difference.interval, difference.p) == (0.0, (0.0, 0.0), 1.0)


def test_the_interval_holds_the_difference_and_narrows_with_episodes() -> None:
    few, many = (paired_difference([(outcomes("1101" * n), outcomes("0111" * n))]) for n in (5, 100))
    for found in (few, many):
        assert found.interval[0] < found.difference < found.interval[1]
    assert many.interval[1] - many.interval[0] < 0.5 * (few.interval[1] - few.interval[0])


def test_training_seeds_that_disagree_widen_the_interval() -> None:
    agree = paired_difference([(outcomes("10" * 50, "01" * 50), outcomes("0" * 100, "0" * 100))])
    disagree = paired_difference([(outcomes("1" * 100, "0" * 100), outcomes("0" * 100, "0" * 100))])
    assert agree.difference == disagree.difference == 0.5
    assert disagree.interval == (0.0, 1.0)
    assert agree.interval[0] > 0.3 and agree.interval[1] < 0.7


@pytest.mark.parametrize("blocks", [[], [(outcomes("11"), outcomes("1"))], [(np.zeros((0, 4)), np.zeros((0, 4)))]])
def test_what_is_no_pair_is_refused(blocks) -> None:
    with pytest.raises(ValueError, match="equal shape"):
        paired_difference(blocks)
