import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_server.runtime.errors import ObservationError, StampError
from policy_server.runtime.history import ObservationHistory
from policy_server.runtime.windows import select_context

PERIOD_NS = 100_000_000
GAP_NS = 300_000_000


def history(offsets: tuple[int, ...] = (4, 2, 0)) -> ObservationHistory:
    return ObservationHistory(offsets, PERIOD_NS, 2, GAP_NS)


def row(value: float) -> np.ndarray:
    return np.full(2, value, np.float32)


def test_the_first_observation_fills_the_whole_context() -> None:
    memory = history()
    memory.append(0, row(7))
    context = memory.context()
    np.testing.assert_allclose(context.rows, [[0.4, 7, 7], [0.2, 7, 7], [0.0, 7, 7]])
    assert context.rows.dtype == np.float32


def test_a_context_is_a_copy_that_later_observations_do_not_change() -> None:
    memory = history()
    memory.append(0, row(1))
    context = memory.context()
    for tick in range(1, 40):
        memory.append(tick * PERIOD_NS, row(9))
    assert context.rows[-1, 1] == 1


@given(offsets=st.sets(st.integers(1, 20), max_size=6), ticks=st.integers(1, 120))
@settings(max_examples=50)
def test_the_ring_answers_as_if_it_had_kept_everything(offsets: set[int], ticks: int) -> None:
    ordered = (*sorted(offsets, reverse=True), 0)
    memory = history(ordered)
    for tick in range(ticks):
        memory.append(tick * PERIOD_NS, row(tick))
    indices, ages_s = select_context(np.arange(ticks) * PERIOD_NS, ticks - 1, ordered, PERIOD_NS)
    rows = memory.context().rows
    np.testing.assert_array_equal(rows[:, 1], indices)
    np.testing.assert_array_equal(rows[:, 0], ages_s)


@pytest.mark.parametrize("stamp_ns", [PERIOD_NS, PERIOD_NS - 1, 0])
def test_a_stamp_that_does_not_rise_is_refused(stamp_ns: int) -> None:
    memory = history()
    memory.append(PERIOD_NS, row(0))
    with pytest.raises(StampError, match="stamps must rise"):
        memory.append(stamp_ns, row(0))


def test_a_gap_that_tears_the_memory_is_refused() -> None:
    memory = history()
    memory.append(0, row(0))
    with pytest.raises(StampError, match="reset the history"):
        memory.append(GAP_NS + 1, row(0))


def test_a_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ObservationError, match="not finite"):
        history().append(0, row(np.nan))


def test_an_empty_history_has_no_context() -> None:
    with pytest.raises(ObservationError, match="empty"):
        history().context()


def test_clearing_forgets_also_the_last_stamp() -> None:
    memory = history()
    memory.append(10 * PERIOD_NS, row(1))
    memory.clear()
    memory.append(0, row(2))
    assert (memory.context().rows[:, 1] == 2).all()
