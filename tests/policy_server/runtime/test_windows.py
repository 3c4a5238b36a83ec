import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from policy_server.runtime.windows import action_ticks, select_context

PERIOD_NS = 100_000_000


def test_context_takes_the_ticks_at_the_offsets() -> None:
    stamps_ns = np.arange(10) * PERIOD_NS
    indices, ages_s = select_context(stamps_ns, 9, (6, 3, 0), PERIOD_NS)
    assert indices.tolist() == [3, 6, 9]
    np.testing.assert_allclose(ages_s, [0.6, 0.3, 0.0])


def test_slots_before_the_first_observation_repeat_it_with_their_nominal_age() -> None:
    indices, ages_s = select_context([0, PERIOD_NS, 2 * PERIOD_NS], 2, (4, 2, 0), PERIOD_NS)
    assert indices.tolist() == [0, 0, 2]
    np.testing.assert_allclose(ages_s, [0.4, 0.2, 0.0])


def test_a_missing_tick_is_bridged_by_the_one_before_it_and_shows_its_true_age() -> None:
    stamps_ns = np.array([0, 1, 3]) * PERIOD_NS  # the tick at 0.2 s was lost
    indices, ages_s = select_context(stamps_ns, 2, (1, 0), PERIOD_NS)
    assert indices.tolist() == [1, 2]
    np.testing.assert_allclose(ages_s, [0.2, 0.0])


@given(
    gaps=st.lists(st.integers(50_000_000, 300_000_000), min_size=1, max_size=60),
    offsets=st.sets(st.integers(1, 80), max_size=12),
)
def test_context_never_looks_ahead_and_ends_with_the_newest(gaps: list[int], offsets: set[int]) -> None:
    stamps_ns = np.cumsum(gaps)
    ordered = (*sorted(offsets, reverse=True), 0)
    newest = len(stamps_ns) - 1
    indices, ages_s = select_context(stamps_ns, newest, ordered, PERIOD_NS)
    assert indices[-1] == newest and ages_s[-1] == 0
    assert (np.diff(indices) >= 0).all() and indices.min() >= 0
    assert (ages_s >= 0).all()
    alone, _ = select_context(stamps_ns[: newest + 1], newest, ordered, PERIOD_NS)
    assert (alone == indices).all()


def test_actions_rest_before_the_first_and_after_the_last_tick() -> None:
    assert action_ticks(0, 2, 3, 10).tolist() == [0, 0, 0, 1, 2]
    assert action_ticks(9, 2, 3, 10).tolist() == [7, 8, 9, 9, 9]
