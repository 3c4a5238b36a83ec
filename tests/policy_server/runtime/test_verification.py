"""Candidates are judged by the executed past alone, in the policy's own units; the record holds what was answered."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from policy_server.runtime.manifest import VerificationSpec
from policy_server.runtime.verification import (
    ExecutedActions,
    ExecutedPast,
    VerificationError,
    check_candidates,
    past_errors,
    verify,
)
from tests.synthetic_bundle import synthetic_spec

PERIOD_NS = 100_000_000
PAST, HORIZON, JOINTS = 4, 10, 3
SCALES = np.array([0.5, 0.2, 0.01], np.float32)

numbers = st.floats(-2, 2, width=32)
candidate_chunks = st.integers(1, 8).flatmap(
    lambda count: arrays(np.float32, (count, HORIZON, JOINTS), elements=numbers)
)


@st.composite
def executed_pasts(draw: st.DrawFn) -> ExecutedPast:
    back = sorted(draw(st.sets(st.integers(1, PAST), min_size=1)), reverse=True)
    return ExecutedPast(np.array(back, np.int64), draw(arrays(np.float32, (len(back), JOINTS), elements=numbers)))


def with_past(candidates: NDArray[np.float32], index: int, executed: ExecutedPast) -> NDArray[np.float32]:
    """The candidates, one of which predicts exactly what was executed."""
    changed = candidates.copy()
    changed[index, PAST - executed.ticks_back] = executed.actions
    return changed


@given(candidate_chunks, executed_pasts())
def test_no_candidate_is_better_than_the_chosen_one(candidates: NDArray[np.float32], executed: ExecutedPast) -> None:
    verification = verify(candidates, PAST, executed, SCALES)
    for candidate in candidates:
        differences = [
            (float(candidate[PAST - back, joint]) - float(action[joint])) / float(SCALES[joint])
            for back, action in zip(executed.ticks_back, executed.actions, strict=True)
            for joint in range(JOINTS)
        ]
        assert verification.error <= np.mean(np.square(differences)) * (1 + 1e-6)
    assert verification.spread >= 0


@given(candidate_chunks, executed_pasts(), st.data())
def test_a_candidate_that_predicts_the_executed_past_is_chosen(
    candidates: NDArray[np.float32], executed: ExecutedPast, data: st.DataObject
) -> None:
    right = data.draw(st.integers(0, len(candidates) - 1))
    verification = verify(with_past(candidates, right, executed), PAST, executed, SCALES)
    assert verification.error == 0
    assert verification.errors[right] == 0


@given(candidate_chunks, executed_pasts(), arrays(np.float32, (HORIZON, JOINTS), elements=numbers))
def test_only_rows_of_the_executed_past_count(
    candidates: NDArray[np.float32], executed: ExecutedPast, shift: NDArray[np.float32]
) -> None:
    shift[PAST - executed.ticks_back] = 0
    np.testing.assert_array_equal(
        past_errors(candidates + shift, PAST, executed, SCALES), past_errors(candidates, PAST, executed, SCALES)
    )


@given(candidate_chunks, executed_pasts())
def test_the_unit_of_a_joint_does_not_matter(candidates: NDArray[np.float32], executed: ExecutedPast) -> None:
    to_milli = np.array([1, 1, 1024], np.float32)  # a power of two, so that nothing is rounded
    milli = dataclasses.replace(executed, actions=executed.actions * to_milli)
    np.testing.assert_array_equal(
        past_errors(candidates * to_milli, PAST, milli, SCALES * to_milli),
        past_errors(candidates, PAST, executed, SCALES),
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("row", [0, HORIZON - 1], ids=["past", "future"])
def test_a_candidate_that_is_not_finite_is_never_chosen_over_one_that_is(bad: float, row: int) -> None:
    executed = ExecutedPast(np.array([PAST, 1]), np.zeros((2, JOINTS), np.float32))
    candidates = np.zeros((3, HORIZON, JOINTS), np.float32)
    candidates[:2, row, 1] = bad
    candidates[2] = 1.9
    assert verify(candidates, PAST, executed, SCALES).chosen == 2


def test_a_millimetre_of_the_finger_does_not_drown_in_a_hundredth_of_a_radian() -> None:
    executed = ExecutedPast(np.array([1]), np.zeros((1, JOINTS), np.float32))
    candidates = np.zeros((2, HORIZON, JOINTS), np.float32)
    candidates[0, PAST - 1, 2] = 5e-3  # half of what the finger ever does
    candidates[1, PAST - 1, 0] = 1e-2
    assert verify(candidates, PAST, executed, SCALES).chosen == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(-24, 24)), min_size=1, max_size=20))
def test_the_record_holds_the_answered_ticks_of_the_window_and_no_others(ticks: list[tuple[bool, int]]) -> None:
    record = ExecutedActions(PERIOD_NS, PAST)
    stamps_ns = [tick * PERIOD_NS + jitter_ms * 1_000_000 for tick, (_, jitter_ms) in enumerate(ticks)]
    for tick, (answered, _) in enumerate(ticks):
        if answered:
            record.add(stamps_ns[tick], np.full(JOINTS, tick, np.float32))
    past = record.before(len(ticks) * PERIOD_NS)
    expected = [tick for tick in range(max(len(ticks) - PAST, 0), len(ticks)) if ticks[tick][0]]
    assert [len(ticks) - back for back in past.ticks_back] == expected
    assert [action[0] for action in past.actions] == expected


def test_a_tick_that_is_answered_again_counts_once() -> None:
    record = ExecutedActions(PERIOD_NS, PAST)
    for tick, value in ((0, 0.0), (1, 1.0), (1, 2.0)):
        record.add(tick * PERIOD_NS, np.full(JOINTS, value, np.float32))
    past = record.before(2 * PERIOD_NS)
    assert past.ticks_back.tolist() == [2, 1]
    assert past.actions[:, 0].tolist() == [0.0, 2.0]


def test_a_tick_is_not_its_own_past() -> None:
    record = ExecutedActions(PERIOD_NS, PAST)
    record.add(PERIOD_NS, np.zeros(JOINTS, np.float32))
    assert len(record.before(PERIOD_NS)) == 0


def test_a_cleared_record_is_empty() -> None:
    record = ExecutedActions(PERIOD_NS, PAST)
    record.add(0, np.zeros(JOINTS, np.float32))
    record.clear()
    assert len(record.before(PERIOD_NS)) == 0


def test_what_cannot_be_verified_is_refused_with_the_reason() -> None:
    spec = synthetic_spec()
    assert check_candidates(spec, 10) == 10
    with pytest.raises(VerificationError, match="0 candidates: draw at least 1"):
        check_candidates(spec, 0)
    with pytest.raises(VerificationError, match=r"10 candidates of policy 'synthetic'.*no past actions"):
        check_candidates(synthetic_spec(past_steps=0), 10)
    for scales in ((), (1.0,), (0.0,) * 8):
        with pytest.raises(VerificationError, match="export the bundle again"):
            check_candidates(dataclasses.replace(spec, verification=VerificationSpec(1, scales)), 10)
    assert check_candidates(synthetic_spec(past_steps=0), 1) == 1
