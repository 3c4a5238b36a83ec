"""Where chunks overlap: the newest alone, the mean of all, or a hand-over."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ros_nodes.franka.blending import Blending, Rule, blended
from ros_nodes.franka.joint_path import JointPath

MS = 1_000_000


def plan(start_ms: int, value: float, steps: int = 10) -> JointPath:
    return JointPath([(start_ms + 100 * k) * MS for k in range(steps)], np.full((steps, 1), value))


def blending(rule: Rule, decay: float = 0.0) -> Blending:
    return Blending(rule, decay, frozen_ns=200 * MS, blend_ns=400 * MS)


@given(
    st.sampled_from(list(Rule)),
    st.lists(st.tuples(st.integers(0, 90), st.floats(-1, 1)), min_size=1, max_size=6),
    st.floats(0, 2),
    st.integers(1, 10),
)
def test_a_blend_lies_between_what_the_chunks_say_and_ends_with_the_newest(
    rule: Rule, drawn: list[tuple[int, float]], decay: float, newest_steps: int
) -> None:
    chunks = [plan(100 * number + offset, value) for number, (offset, value) in enumerate(drawn)]
    chunks[-1] = plan(chunks[-1].times_ns[0] // MS, drawn[-1][1], newest_steps)
    values = [value for _, value in drawn]
    from_ns = chunks[-1].times_ns[0] - 50 * MS
    standing = chunks[-2] if len(chunks) > 1 else chunks[-1]
    path = blended(blending(rule, decay), standing, chunks, from_ns)
    assert (np.diff(path.times_ns) > 0).all() and path.times_ns[0] > from_ns and path.end_ns == chunks[-1].end_ns
    assert min(values) - 1e-9 <= path.positions.min() and path.positions.max() <= max(values) + 1e-9


def test_latest_is_the_newest_chunk() -> None:
    path = blended(blending(Rule.LATEST), plan(0, 0.0), [plan(0, 0.0), plan(100, 1.0)], 150 * MS)
    assert (path.positions == 1.0).all() and path.times_ns[0] == 200 * MS


def test_an_ensemble_without_decay_is_the_mean_of_those_that_say_something() -> None:
    chunks = [plan(0, 0.0, steps=4), plan(100, 3.0), plan(200, 6.0)]
    path = blended(blending(Rule.TEMPORAL_ENSEMBLE), chunks[1], chunks, 150 * MS)
    assert path.positions[:4, 0] == pytest.approx([3.0, 3.0, 4.5, 4.5])  # the first chunk ends at 300 ms
    assert path.positions[-1, 0] == 6.0  # only the newest reaches so far


def test_with_decay_older_chunks_weigh_more() -> None:
    chunks = [plan(0, 0.0), plan(100, 1.0)]
    path = blended(blending(Rule.TEMPORAL_ENSEMBLE, decay=1.0), chunks[0], chunks, 150 * MS)
    assert path.positions[0, 0] == pytest.approx(np.exp(-1.0) / (1.0 + np.exp(-1.0)))


def test_a_hand_over_keeps_the_standing_plan_then_leaves_it_step_by_step() -> None:
    standing = JointPath([0, 1000 * MS], np.array([[0.0], [0.1]]))
    path = blended(blending(Rule.HAND_OVER), standing, [standing, plan(200, 1.0)], 100 * MS)
    frozen = [path.at(time_ms * MS)[0][0] for time_ms in (200, 300)]
    assert frozen == pytest.approx([0.02, 0.03])  # until 100 + 200 ms
    rest = [path.at(time_ms * MS)[0][0] for time_ms in (300, 400, 500, 600, 700)]
    assert (np.diff(rest) > 0.0).all() and rest[-1] == 1.0  # after another 400 ms


def test_a_standing_plan_that_has_ended_has_no_say() -> None:
    standing = plan(0, 0.0, steps=2)
    path = blended(blending(Rule.HAND_OVER), standing, [standing, plan(300, 1.0)], 250 * MS)
    assert (path.positions == 1.0).all()
