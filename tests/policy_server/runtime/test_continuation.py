"""What a fresh chunk is given of the standing plan, and the masks by which it is held; the actor with a graph made by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.actor import Actor
from policy_server.runtime.bundle import load_bundle, write_manifest
from policy_server.runtime.continuation import Continuation, Execution, check_continuation, continued_from
from policy_server.runtime.engine import Denoiser
from policy_server.runtime.errors import BundleError
from policy_server.runtime.history import Context
from policy_server.runtime.inpainting import InpaintingError, soft_mask
from policy_server.runtime.verification import ExecutedActions
from tests.continuable_bundle import write_continuable_bundle
from tests.synthetic_bundle import JOINTS, synthetic_spec, write_synthetic_bundle

PERIOD_NS = 100_000_000
SPEC = synthetic_spec()  # two past rows, six future ones
CHUNKING = Continuation("real_time_chunking", 2)


def plan(tick: int, first: float = 0.0) -> ActionChunk:
    """Steps that say their own tick: ``first`` + 0.1 per tick."""
    rows = first + 0.1 * np.arange(tick + 1, tick + 7, dtype=np.float32)
    return ActionChunk(tick * PERIOD_NS, PERIOD_NS, JOINTS, np.repeat(rows[:, None], len(JOINTS), axis=1))


def executed(*ticks: int) -> ExecutedActions:
    record = ExecutedActions(PERIOD_NS, 2)
    for tick in ticks:
        record.add(tick * PERIOD_NS, np.full(len(JOINTS), 0.1 * (tick + 1), np.float32))
    return record


@settings(max_examples=50)
@given(st.integers(1, 20), st.integers(0, 25), st.integers(0, 25))
def test_the_mask_is_whole_for_the_delay_then_falls_and_ends_with_the_overlap(
    steps: int, delay: int, overlap: int
) -> None:
    mask = soft_mask(steps, delay, overlap)
    held, end = min(delay, overlap, steps), min(overlap, steps)
    assert (mask[:held] == 1).all() and (mask[end:] == 0).all()
    assert ((mask[held:end] > 0) & (mask[held:end] < 1)).all()
    assert (np.diff(mask) <= 0).all()


def test_the_steps_of_the_standing_plan_are_held_at_their_own_times() -> None:
    given_rows = continued_from(plan(4), executed(4, 5, 6).before(7 * PERIOD_NS), 7 * PERIOD_NS, SPEC, CHUNKING)
    assert given_rows is not None
    # Rows: actions of ticks 5 and 6 (executed), then of 7, 8, 9; the plan ends with the target for tick 10, which is repeated.
    np.testing.assert_allclose(given_rows.held[:, 0], [0.6, 0.7, 0.8, 0.9, 1.0, 1.0, 1.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(given_rows.weight, [0, 0, *soft_mask(6, 2, 3)])
    assert given_rows.weight[2:4].tolist() == [1, 1] and given_rows.weight[5:].tolist() == [0, 0, 0]


def test_past_rows_that_nobody_knows_repeat_the_nearest_known() -> None:
    given_rows = continued_from(plan(0), executed().before(0), 0, SPEC, Continuation(warm_start=2))
    assert given_rows is not None and given_rows.first_step == 2
    np.testing.assert_allclose(given_rows.held[:3, 0], [0.1, 0.1, 0.1], atol=1e-6)
    assert not given_rows.weight.any()


def test_there_is_nothing_to_continue_before_the_first_chunk_and_after_its_end() -> None:
    past = executed().before(0)
    assert continued_from(None, past, 0, SPEC, CHUNKING) is None
    assert continued_from(plan(0), past, 6 * PERIOD_NS, SPEC, CHUNKING) is None
    assert continued_from(plan(0), past, 2 * PERIOD_NS, SPEC, Continuation("latest", 2)) is None


@pytest.mark.parametrize(
    ("continuation", "complaint"),
    [
        (Continuation("real_time_chunking", 6), "a delay of 6 ticks: .* 6 future steps.*give 0 to 5"),
        (Continuation("real_time_chunking", -1), "a delay of -1 ticks"),
        (Continuation(warm_start=1), "skips 1 of 1 sampling steps: skip 0 to 0"),
    ],
)
def test_what_a_chunk_is_too_short_for_is_refused(continuation: Continuation, complaint: str) -> None:
    with pytest.raises(InpaintingError, match=complaint):
        check_continuation(SPEC, continuation)


def answers(folder: Path, continuation: Continuation | None, ticks: int = 9) -> list[np.ndarray]:
    """An actor's answers while the joints stand at 0.1 rad per tick."""
    actor = Actor(load_bundle(folder), replan_every_ticks=3, continuation=continuation)
    rows = np.zeros((4, 12), np.float32)
    chunks = []
    for tick in range(ticks):
        rows[-1, 4:] = 0.1 * tick
        chunks.append(actor.answer(Context(tick * PERIOD_NS, rows.copy())).positions)
    return chunks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_continuable_bundle(tmp_path / "bundle", noise_gain=0.5)


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_real_time_chunking_goes_on_with_the_plan_for_the_delay_and_then_leaves_it(folder: Path, delay: int) -> None:
    free, held = answers(folder, None), answers(folder, Continuation("real_time_chunking", delay))
    np.testing.assert_array_equal(held[2], free[2])  # the first plan has none before it
    rest = held[2][1:]
    np.testing.assert_allclose(held[3][:delay], rest[:delay], atol=1e-6)
    assert (np.abs(held[3][delay : len(rest)] - rest[delay:]) > 1e-4).all()
    np.testing.assert_array_equal(held[3][len(rest) :], free[3][len(rest) :])


def test_a_warm_start_leaves_out_steps_from_the_second_chunk_on(folder: Path) -> None:
    free, warm = answers(folder, None), answers(folder, Continuation(warm_start=2))
    np.testing.assert_array_equal(warm[0], free[0])
    expected = free[3] + 0.2 * (np.concatenate([free[2][1:], np.repeat(free[2][-1:], 3, axis=0)]) - free[3])
    np.testing.assert_allclose(warm[3], expected, atol=1e-6)


def test_plain_execution_is_that_of_a_bundle_that_takes_no_plan(folder: Path, tmp_path: Path) -> None:
    without = write_synthetic_bundle(tmp_path / "without", context_batch=1, noise_gain=0.5)
    for one, other in zip(answers(folder, None), answers(without, Continuation("latest", 3)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("execution", "warm_start"), [("real_time_chunking", 0), ("latest", 0), ("latest", 1)])
def test_a_bundle_that_takes_no_plan_is_refused_only_when_one_is_to_be_continued(
    tmp_path: Path, execution: Execution, warm_start: int
) -> None:
    path = write_synthetic_bundle(tmp_path / "old")
    spec = load_bundle(path).spec
    write_manifest(path, dataclasses.replace(spec, sampler=dataclasses.replace(spec.sampler, steps=4)), {})
    continuation = Continuation(execution, 1, warm_start)
    if not continuation.reads_the_plan:
        assert Actor(load_bundle(path), continuation=continuation).continuation == continuation
        return
    with pytest.raises(InpaintingError, match=r"'.*old' cannot continue a standing plan .* export it again"):
        Actor(load_bundle(path), continuation=continuation)


def test_inputs_for_plans_of_another_chunk_are_refused(folder: Path) -> None:
    spec = load_bundle(folder).spec
    longer = dataclasses.replace(spec, action=dataclasses.replace(spec.action, past_steps=3))
    write_manifest(folder, longer, {})
    with pytest.raises(BundleError, match="export it again"):
        Denoiser(load_bundle(folder))


def test_an_execution_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(InpaintingError, match="'blocking': give latest or real_time_chunking"):
        check_continuation(SPEC, Continuation("blocking"))  # type: ignore[arg-type]
