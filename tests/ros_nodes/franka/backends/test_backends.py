"""What every arm must do, whoever is behind it: the fakes, the trajectory topics, MuJoCo, libfranka on loopback."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np
import pytest

from policy_server.runtime.clock import NS_PER_MS, NS_PER_S
from ros_nodes.franka.backends.backend import ArmMode, ArmNotReadyError, RecoveryError
from ros_nodes.franka.set_points import SetPoints
from tests.ros_nodes.franka.backends.arms_under_test import (
    ArmUnderTest,
    fake_arm,
    franky_arm,
    mujoco_arm,
    since,
    topic_arm,
)

ARMS: dict[str, Callable[[], AbstractContextManager[ArmUnderTest]]] = {
    "fake": fake_arm,
    "fake with delay and loss": lambda: fake_arm(delay_ns=30 * NS_PER_MS, loss=0.2),
    "trajectory topic": topic_arm,
    "MuJoCo through trajectories": mujoco_arm,
    "franky on loopback": lambda: franky_arm(f"127.0.1.{1 + os.getpid() % 250}"),
}
NEAR_RAD = 0.01
HERE_AND_THERE = np.array([0.1, 0.08, -0.1, 0.1, 0.1, -0.08, 0.15])


def _names() -> Iterator[object]:
    for name in ARMS:
        loopback = pytest.mark.ros if "loopback" in name else ()
        yield pytest.param(name, marks=loopback, id=name)


@pytest.fixture(params=_names(), scope="module")
def shared_arm(request: pytest.FixtureRequest) -> Iterator[ArmUnderTest]:
    """One arm for all tests of its kind: a robot takes seconds to start."""
    if "loopback" in request.param:
        request.getfixturevalue("loopback_installed")
    with ARMS[request.param]() as arm:
        yield arm


@pytest.fixture
def arm(shared_arm: ArmUnderTest) -> ArmUnderTest:
    """At rest, without a fault, whatever the test before did."""
    shared_arm.backend.stop()
    shared_arm.pass_time(0.05)
    if shared_arm.mode not in (ArmMode.IDLE, ArmMode.MOVING):
        shared_arm.backend.recover()
    shared_arm.wait_for(lambda: shared_arm.mode == ArmMode.IDLE, "an idle arm")
    return shared_arm


def rests_at(arm: ArmUnderTest, goal_rad: np.ndarray) -> Callable[[], bool]:
    def holds() -> bool:
        reading = arm.backend.read()
        assert reading is not None
        near = np.abs(reading.positions_rad - goal_rad).max() < NEAR_RAD
        return bool(near and np.abs(reading.velocities_rad_s).max() < 0.02)

    return holds


def test_an_open_arm_says_where_it_stands(arm: ArmUnderTest) -> None:
    reading = arm.backend.read()
    assert reading is not None
    assert reading.positions_rad.shape == reading.velocities_rad_s.shape == (7,)
    assert np.abs(reading.velocities_rad_s).max() < 0.02
    assert reading.errors == ()
    assert abs(reading.stamp_ns - arm.now_ns()) < NS_PER_S
    assert reading.external_wrench is None or reading.external_wrench.shape == (6,)


def test_set_points_are_followed_to_their_end_and_held(arm: ArmUnderTest) -> None:
    goal = arm.position_rad + HERE_AND_THERE
    points = arm.way_to(goal, 1.0)
    errors_rad = []

    def compare() -> None:
        reading = arm.backend.read()
        assert reading is not None
        due = points.positions[min(np.searchsorted(points.times_ns, reading.stamp_ns), len(points) - 1), :7]
        errors_rad.append(np.abs(reading.positions_rad - due).max())

    arm.drive(points, compare)
    arm.wait_for(rests_at(arm, goal), "the arm at the set-points' end")
    arm.pass_time(0.3)
    assert rests_at(arm, goal)()
    if arm.tolerance_rad is not None:
        assert max(errors_rad) <= arm.tolerance_rad


def test_the_newest_set_points_replace_all_before(arm: ArmUnderTest) -> None:
    start = arm.position_rad
    outward = arm.way_to(start + 2 * HERE_AND_THERE, 2.0)
    for _ in range(20):
        arm.backend.follow(since(outward, arm.now_ns()))
        arm.pass_time(0.02)
    arm.drive(arm.way_to(start, 1.0))
    arm.wait_for(rests_at(arm, start), "the arm where the newer set-points end")


def test_set_points_of_the_past_do_not_move_the_arm(arm: ArmUnderTest) -> None:
    start = arm.position_rad
    points = arm.way_to(start + HERE_AND_THERE, 0.5)
    arm.backend.follow(
        SetPoints(points.times_ns - NS_PER_S, points.positions, points.velocities, points.accelerations, "running")
    )
    arm.pass_time(0.2)
    assert rests_at(arm, start)()


def test_no_set_points_change_nothing(arm: ArmUnderTest) -> None:
    start = arm.position_rad
    arm.backend.follow(SetPoints.of([], [], 8, "holding"))
    arm.pass_time(0.1)
    assert rests_at(arm, start)()


def test_without_further_set_points_the_arm_comes_to_rest_at_their_end(arm: ArmUnderTest) -> None:
    goal = arm.position_rad - HERE_AND_THERE
    arm.backend.follow(arm.way_to(goal, 1.0))
    arm.wait_for(rests_at(arm, goal), "the arm at the end of its only set-points")


def test_a_stop_ends_the_motion_and_forgets_the_set_points(arm: ArmUnderTest) -> None:
    points = arm.way_to(arm.position_rad + HERE_AND_THERE, 1.0)
    for _ in range(20):
        arm.backend.follow(since(points, arm.now_ns()))
        arm.pass_time(0.02)
    arm.backend.stop()
    arm.backend.stop()
    arm.wait_for(lambda: arm.mode == ArmMode.IDLE, "an idle arm after the stop")
    rest = arm.position_rad
    arm.pass_time(0.3)
    assert rests_at(arm, rest)()


def test_the_gripper_moves_while_the_arm_moves(arm: ArmUnderTest) -> None:
    start = arm.position_rad
    goal = start + HERE_AND_THERE / 2
    arm.drive(arm.way_to(goal, 0.5, finger_m=0.01))
    arm.wait_for(rests_at(arm, goal), "the arm at its goal")

    def width_is(width_m: float) -> bool:
        reading = arm.backend.read()
        return (
            reading is not None
            and reading.gripper_width_m is not None
            and abs(reading.gripper_width_m - width_m) < 0.01
        )

    arm.wait_for(lambda: width_is(0.02), "the fingers 20 mm apart")
    arm.drive(arm.way_to(start, 0.5, finger_m=0.04))
    arm.wait_for(lambda: width_is(0.08), "open fingers")


def test_after_a_reflex_the_cause_is_named_and_nothing_moves_until_recovered(arm: ArmUnderTest) -> None:
    assert arm.fail is not None
    points = arm.way_to(arm.position_rad + HERE_AND_THERE, 2.0)
    for _ in range(20):
        arm.backend.follow(since(points, arm.now_ns()))
        arm.pass_time(0.02)
    arm.fail("joint_velocity_violation")
    arm.wait_for(lambda: arm.mode == ArmMode.REFLEX, "the reflex")
    reading = arm.backend.read()
    assert reading is not None
    assert reading.errors == ("joint_velocity_violation",)
    with pytest.raises(ArmNotReadyError, match="joint_velocity_violation"):
        arm.backend.follow(since(points, arm.now_ns()))
    arm.backend.recover()
    assert arm.mode == ArmMode.IDLE
    reading = arm.backend.read()
    assert reading is not None
    assert reading.errors == ()
    rest = arm.position_rad
    arm.pass_time(0.2)
    assert rests_at(arm, rest)(), "the old set-points moved the arm after the recovery"
    arm.drive(arm.way_to(rest - HERE_AND_THERE / 2, 0.5))
    arm.wait_for(rests_at(arm, rest - HERE_AND_THERE / 2), "motion after the recovery")


def test_only_a_person_ends_a_user_stop(arm: ArmUnderTest) -> None:
    assert arm.user_stop is not None
    arm.user_stop(True)
    arm.wait_for(lambda: arm.mode == ArmMode.USER_STOPPED, "the user stop")
    with pytest.raises(RecoveryError, match="release"):
        arm.backend.recover()
    with pytest.raises(ArmNotReadyError):
        arm.backend.follow(arm.way_to(arm.position_rad, 0.5))
    arm.user_stop(False)
    arm.wait_for(lambda: arm.mode == ArmMode.REFLEX, "the arm waiting for its recovery")
    arm.backend.recover()
    assert arm.mode == ArmMode.IDLE


def test_a_recovery_without_a_reflex_changes_nothing(arm: ArmUnderTest) -> None:
    start = arm.position_rad
    arm.backend.recover()
    assert arm.mode == ArmMode.IDLE
    assert rests_at(arm, start)()


def test_a_closed_arm_is_disconnected_and_may_be_closed_again(shared_arm: ArmUnderTest) -> None:
    shared_arm.backend.close()
    shared_arm.backend.close()
    reading = shared_arm.backend.read()
    assert reading is None or reading.mode == ArmMode.DISCONNECTED
