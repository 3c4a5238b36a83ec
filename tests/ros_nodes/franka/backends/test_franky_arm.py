"""The franky backend over a fake of the library: what it says to the robot, and in which order."""

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from policy_server.runtime.clock import NS_PER_S
from policy_server.runtime.resources import resource
from ros_nodes.franka.backends.backend import (
    ArmConnectionError,
    ArmMode,
    ArmNotReadyError,
    ArmReading,
    RecoveryError,
)
from ros_nodes.franka.backends.franky_arm import FrankyArm
from ros_nodes.franka.backends.franky_settings import FrankySettings
from ros_nodes.franka.set_points import JointMotion, SetPoints
from ros_nodes.franka.settings import load_guard_settings
from sim_bridge.fr3 import HOME_RAD
from tests.ros_nodes.franka.backends import fake_franky

LIMITS = load_guard_settings(resource("config/arm.yaml")).limits
SETTINGS = FrankySettings("127.0.0.1", recover_s=0.05)


def steady(velocity_rad_s: float, seconds: float = 5.0) -> SetPoints:
    """Set-points from home at one velocity, from now on."""
    begin_ns = time.time_ns()
    steps = [0.1 * k for k in range(round(10 * seconds))]
    velocity = np.append(np.full(7, velocity_rad_s), 0.0)
    start = np.append(HOME_RAD, 0.04)
    motions = [JointMotion(start + s * velocity, velocity, np.zeros(8)) for s in steps]
    return SetPoints.of([begin_ns + round(s * NS_PER_S) for s in steps], motions, 8, "running")


def wait_for(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


@pytest.fixture
def franky() -> SimpleNamespace:
    return fake_franky.library()


@pytest.fixture
def arm(franky: SimpleNamespace) -> Iterator[FrankyArm]:
    arm = FrankyArm(SETTINGS, LIMITS, library=franky)
    yield arm
    arm.close()


def mode_of(arm: FrankyArm) -> ArmMode:
    reading = arm.read()
    assert reading is not None
    return reading.mode


def test_the_limits_are_the_robots_as_far_as_franky_allows(arm: FrankyArm, franky: SimpleNamespace) -> None:
    np.testing.assert_array_equal(
        franky.robot.joint_velocity_limit.value, np.minimum(LIMITS.velocity[:7], fake_franky.LIMIT)
    )
    assert franky.robot.relative_dynamics_factor == (0.9, 0.8, 0.2)


def test_set_points_become_a_velocity_and_then_rest(arm: FrankyArm, franky: SimpleNamespace) -> None:
    arm.follow(steady(0.1))
    wait_for(lambda: franky.robot.motions)
    ahead, rest = franky.robot.motions[0].waypoints
    assert ahead.velocity == pytest.approx(np.full(7, 0.1), abs=0.05)
    assert ahead.minimum_time == 30
    assert not rest.velocity.any()
    assert rest.hold_target_duration > 3600 * 1000


def test_the_arm_is_led_on_while_no_newer_set_points_come(arm: FrankyArm, franky: SimpleNamespace) -> None:
    arm.follow(steady(0.1))
    wait_for(lambda: len(franky.robot.motions) > 3)


def test_a_stop_ends_with_a_stop_motion_and_nothing_after_it(arm: FrankyArm, franky: SimpleNamespace) -> None:
    arm.follow(steady(0.1))
    wait_for(lambda: mode_of(arm) == ArmMode.MOVING)
    arm.stop()
    wait_for(lambda: mode_of(arm) == ArmMode.IDLE)
    assert isinstance(franky.robot.motions[-1], fake_franky.JointVelocityStopMotion)
    count = len(franky.robot.motions)
    time.sleep(0.05)
    assert len(franky.robot.motions) == count


def test_recovery_ends_the_motion_before_it_acknowledges_the_errors(arm: FrankyArm, franky: SimpleNamespace) -> None:
    arm.follow(steady(0.1))
    wait_for(lambda: franky.robot.motions)
    franky.robot.abort("joint_velocity_violation")
    wait_for(lambda: mode_of(arm) == ArmMode.REFLEX)
    with pytest.raises(ArmNotReadyError, match="joint_velocity_violation"):
        arm.follow(steady(0.1))
    count = len(franky.robot.motions)
    arm.recover()
    assert franky.robot.calls == ["join_motion", "recover_from_errors"]
    assert mode_of(arm) == ArmMode.IDLE
    assert arm.reflex_count == 1
    assert len(franky.robot.motions) == count, "recovering moved the arm"


def test_a_reflex_stands_until_recovered_even_if_the_robot_forgets_it(arm: FrankyArm, franky: SimpleNamespace) -> None:
    franky.robot.abort("communication_constraints_violation")
    wait_for(lambda: mode_of(arm) == ArmMode.REFLEX)
    franky.robot.state.robot_mode.name = "Idle"
    franky.robot.state.current_errors = fake_franky.errors()
    stamp_ns = time.time_ns()
    wait_for(lambda: (arm.read() or SimpleNamespace(stamp_ns=0)).stamp_ns > stamp_ns)
    assert mode_of(arm) == ArmMode.REFLEX


@pytest.fixture
def refused(arm: FrankyArm, franky: SimpleNamespace) -> FrankyArm:
    """An arm in motion whose next motion franky refuses; the robot itself knows of no error."""
    arm.follow(steady(0.1))
    wait_for(lambda: franky.robot.motions)
    franky.robot.refuses_with = ValueError("target is not reachable")
    wait_for(lambda: mode_of(arm) == ArmMode.REFLEX)
    return arm


def test_recovery_stops_a_motion_that_still_runs_before_it_waits_for_its_end(
    refused: FrankyArm, franky: SimpleNamespace
) -> None:
    with pytest.raises(ArmNotReadyError, match="not reachable"):
        refused.follow(steady(0.1))
    refused.recover()
    assert isinstance(franky.robot.motions[-1], fake_franky.JointVelocityStopMotion)
    assert franky.robot.calls == ["join_motion", "recover_from_errors"]
    assert mode_of(refused) == ArmMode.IDLE


def test_a_stop_ends_the_motion_that_still_runs_after_a_refusal(refused: FrankyArm, franky: SimpleNamespace) -> None:
    refused.stop()
    wait_for(lambda: isinstance(franky.robot.motions[-1], fake_franky.JointVelocityStopMotion))


def test_a_robot_that_does_not_recover_is_said_with_its_error(arm: FrankyArm, franky: SimpleNamespace) -> None:
    franky.robot.recovers = False
    franky.robot.abort("joint_velocity_violation")
    wait_for(lambda: mode_of(arm) == ArmMode.REFLEX)
    with pytest.raises(RecoveryError, match=r"joint_velocity_violation.*Desk"):
        arm.recover()
    assert mode_of(arm) == ArmMode.REFLEX


def test_an_arm_that_does_not_come_to_rest_is_not_recovered(arm: FrankyArm, franky: SimpleNamespace) -> None:
    franky.robot.abort("joint_velocity_violation")
    wait_for(lambda: mode_of(arm) == ArmMode.REFLEX)
    franky.robot.state.dq = np.full(7, 0.5)
    with pytest.raises(RecoveryError, match="at rest"):
        arm.recover()


def test_a_lost_connection_is_said_and_mended_by_recovering(arm: FrankyArm, franky: SimpleNamespace) -> None:
    lost = franky.robot
    lost.fails_with = fake_franky.NetworkException("gone")
    wait_for(lambda: mode_of(arm) == ArmMode.DISCONNECTED)
    with pytest.raises(ArmConnectionError):
        arm.follow(steady(0.1))
    arm.recover()
    assert franky.robot is not lost
    assert mode_of(arm) == ArmMode.IDLE


def test_every_measurement_is_handed_on(franky: SimpleNamespace) -> None:
    readings: list[ArmReading] = []
    arm = FrankyArm(SETTINGS, LIMITS, on_reading=readings.append, library=franky)
    wait_for(lambda: len(readings) > 2)
    arm.close()
    np.testing.assert_array_equal(readings[0].positions_rad, HOME_RAD)


def test_nobody_at_the_address_is_said_with_the_mend(franky: SimpleNamespace) -> None:
    def refuse(address: str, **_: object) -> None:
        raise fake_franky.NetworkException("libfranka: connection refused")

    franky.Robot = refuse
    with pytest.raises(ArmConnectionError, match=r"127\.0\.0\.1.*refused.*FCI"):
        FrankyArm(SETTINGS, LIMITS, library=franky)
