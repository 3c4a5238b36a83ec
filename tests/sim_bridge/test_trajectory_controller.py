"""The stand-in for joint_trajectory_controller."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_bridge.trajectory_controller import (
    TrajectoryController,
    TrajectoryError,
    TrajectoryJointsError,
    TrajectoryTimesError,
    TrajectoryValueError,
)

JOINTS = ("a", "b", "c")
PERIOD_NS = 2_000_000
NOW_NS = 1_800_000_000_123_456_789
START = np.array([0.5, -0.25, 0.125])

positions = st.lists(st.lists(st.floats(-3, 3), min_size=3, max_size=3), min_size=1, max_size=6)


@st.composite
def trajectories(draw):
    points = np.array(draw(positions))
    gaps = draw(st.lists(st.integers(1, 200_000_000), min_size=len(points), max_size=len(points)))
    return np.cumsum(gaps), points


def holding(start=START):
    controller = TrajectoryController(JOINTS, PERIOD_NS)
    controller.reset(start)
    return controller


@given(trajectories())
def test_passes_through_every_point_at_its_time(trajectory):
    times_ns, points = trajectory
    controller = holding()
    controller.accept(NOW_NS, JOINTS, times_ns, points, NOW_NS)
    np.testing.assert_allclose(controller.sample(NOW_NS + times_ns), points, atol=1e-9)


@given(trajectories(), st.integers(0, 10**12))
def test_holds_the_last_point_after_the_end(trajectory, later_ns):
    times_ns, points = trajectory
    controller = holding()
    controller.accept(NOW_NS, JOINTS, times_ns, points, NOW_NS)
    np.testing.assert_array_equal(controller.sample(np.array([NOW_NS + times_ns[-1] + later_ns])), points[-1:])


@given(trajectories(), trajectories(), st.integers(0, 1_000_000_000))
def test_a_new_trajectory_starts_from_the_commanded_position(first, second, after_ns):
    controller = holding()
    controller.accept(NOW_NS, JOINTS, *first, NOW_NS)
    now_ns = NOW_NS + after_ns
    before = controller.sample(np.array([now_ns]))
    controller.accept(now_ns, JOINTS, *second, now_ns)
    np.testing.assert_allclose(controller.sample(np.array([now_ns])), before, atol=1e-12)


@given(trajectories(), st.permutations(range(3)))
def test_joint_order_of_the_message_does_not_matter(trajectory, order):
    times_ns, points = trajectory
    plain, permuted = holding(), holding()
    plain.accept(NOW_NS, JOINTS, times_ns, points, NOW_NS)
    permuted.accept(NOW_NS, [JOINTS[i] for i in order], times_ns, points[:, order], NOW_NS)
    at_ns = NOW_NS + np.linspace(0, times_ns[-1], 17).astype(np.int64)
    np.testing.assert_array_equal(plain.sample(at_ns), permuted.sample(at_ns))


@given(trajectories(), st.integers(1, 600_000_000))
def test_points_in_the_past_do_not_move_the_arm(trajectory, late_ns):
    times_ns, points = trajectory
    now_ns = NOW_NS + late_ns
    ahead = NOW_NS + times_ns > now_ns
    controller = holding()
    if not ahead.any():
        with pytest.raises(TrajectoryTimesError, match="ago"):
            controller.accept(NOW_NS, JOINTS, times_ns, points, now_ns)
        return
    controller.accept(NOW_NS, JOINTS, times_ns, points, now_ns)
    np.testing.assert_array_equal(controller.sample(np.array([now_ns])), START[None])
    np.testing.assert_allclose(controller.sample((NOW_NS + times_ns)[ahead]), points[ahead], atol=1e-9)


def test_stamp_zero_means_from_now():
    controller = holding()
    controller.accept(0, JOINTS, [100_000_000], START[None] + 1, NOW_NS)
    np.testing.assert_allclose(controller.sample(np.array([NOW_NS + 50_000_000])), START[None] + 0.5)


def test_upcoming_set_points_are_one_period_apart():
    controller = holding()
    controller.accept(NOW_NS, JOINTS, [100_000_000], START[None] + 1, NOW_NS)
    set_points = controller.upcoming(NOW_NS, 50)
    np.testing.assert_allclose(set_points, START + np.arange(1, 51)[:, None] / 50, atol=1e-12)


def test_unix_time_keeps_its_nanoseconds():
    controller = holding(np.zeros(3))
    controller.accept(NOW_NS, JOINTS, [1000], np.ones((1, 3)), NOW_NS)
    np.testing.assert_allclose(controller.sample(np.array([NOW_NS + 1])), np.full((1, 3), 1e-3))


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"joints": ("a", "b")}, TrajectoryJointsError, "missing \\['c'\\]"),
        ({"joints": ("a", "b", "d")}, TrajectoryJointsError, "unknown \\['d'\\]"),
        ({"joints": ("a", "b", "c", "c")}, TrajectoryJointsError, "once"),
        ({"positions": np.full((2, 3), np.nan)}, TrajectoryValueError, "a in point 0"),
        ({"positions": np.array([[0, 0, 0], [0, np.inf, 0]])}, TrajectoryValueError, "b in point 1"),
        ({"positions": np.zeros((3, 3))}, TrajectoryValueError, "shape"),
        ({"positions": np.zeros((0, 3)), "times_ns": []}, TrajectoryValueError, "at least one"),
        ({"times_ns": [20, 20]}, TrajectoryTimesError, "point 1"),
        ({"times_ns": [-1, 20]}, TrajectoryTimesError, "point 0"),
        ({"now_ns": NOW_NS + 10**9}, TrajectoryTimesError, "ago"),
    ],
)
def test_a_refused_trajectory_changes_nothing(changes, error, says):
    controller = holding()
    controller.accept(NOW_NS, JOINTS, [10**9], START[None] + 1, NOW_NS)
    at_ns = NOW_NS + np.arange(0, 10**9, 10**8)
    before = controller.sample(at_ns)
    arguments = {"joints": JOINTS, "times_ns": [10, 20], "positions": np.zeros((2, 3)), "now_ns": NOW_NS} | changes
    with pytest.raises(error, match=says):
        controller.accept(NOW_NS, **arguments)
    np.testing.assert_array_equal(controller.sample(at_ns), before)


def test_there_is_no_position_before_the_first_reset():
    controller = TrajectoryController(JOINTS, PERIOD_NS)
    with pytest.raises(TrajectoryError, match="reset"):
        controller.sample(np.array([NOW_NS]))


def test_reset_refuses_what_cannot_be_held():
    controller = holding()
    with pytest.raises(TrajectoryValueError):
        controller.reset(np.array([0.0, np.nan, 0.0]))
    np.testing.assert_array_equal(controller.sample(np.array([NOW_NS])), START[None])
