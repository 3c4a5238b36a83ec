"""The trajectory topics: what is believed of joint states and of the robot's state."""

import numpy as np
import pytest

from policy_server.runtime.clock import NS_PER_MS, NS_PER_S
from ros_nodes.franka.backends.backend import ArmConnectionError, ArmMode, ArmNotReadyError, RecoveryError
from ros_nodes.franka.backends.trajectory_topic import STALE_AFTER_NS, TrajectoryTopicArm
from ros_nodes.franka.set_points import JointMotion, SetPoints
from sim_bridge.fr3 import HOME_RAD


class Clock:
    now_ns = NS_PER_S

    def __call__(self) -> int:
        return self.now_ns


def arm_and_clock(**options: object) -> tuple[TrajectoryTopicArm, Clock, list[SetPoints]]:
    sent: list[SetPoints] = []
    clock = Clock()
    arm = TrajectoryTopicArm(sent.append, clock, **options)  # type: ignore[arg-type]
    return arm, clock, sent


def points_from(now_ns: int) -> SetPoints:
    motion = JointMotion.at_rest(np.append(HOME_RAD, 0.04))
    return SetPoints.of([now_ns + k * 10 * NS_PER_MS for k in range(1, 4)], [motion] * 3, 8, "running")


def test_without_joint_states_nothing_is_sent() -> None:
    arm, clock, sent = arm_and_clock()
    assert arm.read() is None
    with pytest.raises(ArmConnectionError, match="joint states"):
        arm.follow(points_from(clock.now_ns))
    assert sent == []


def test_joint_states_that_stop_mean_a_lost_arm() -> None:
    arm, clock, _ = arm_and_clock()
    arm.take_joint_state(clock.now_ns, HOME_RAD, None, 0.08)
    arm.follow(points_from(clock.now_ns))
    clock.now_ns += STALE_AFTER_NS + 1
    reading = arm.read()
    assert reading is not None
    assert reading.mode == ArmMode.DISCONNECTED
    with pytest.raises(ArmConnectionError):
        arm.follow(points_from(clock.now_ns))


def test_velocities_come_from_the_positions_where_the_driver_gives_none() -> None:
    arm, clock, _ = arm_and_clock()
    arm.take_joint_state(clock.now_ns, HOME_RAD, None, None)
    arm.take_joint_state(clock.now_ns + 10 * NS_PER_MS, HOME_RAD + 0.01, None, None)
    reading = arm.read()
    assert reading is not None
    np.testing.assert_allclose(reading.velocities_rad_s, np.ones(7))


@pytest.mark.parametrize(
    ("robot_mode", "mode"), [(4, ArmMode.REFLEX), (5, ArmMode.USER_STOPPED), (3, ArmMode.USER_STOPPED)]
)
def test_the_robots_own_state_overrules_the_joint_states(robot_mode: int, mode: ArmMode) -> None:
    arm, clock, sent = arm_and_clock()
    arm.take_joint_state(clock.now_ns, HOME_RAD, None, 0.08)
    arm.take_robot_state(clock.now_ns, robot_mode, ("joint_reflex",), np.arange(6.0))
    reading = arm.read()
    assert reading is not None and reading.external_wrench is not None
    assert (reading.mode, reading.errors, reading.external_wrench[5]) == (mode, ("joint_reflex",), 5.0)
    with pytest.raises(ArmNotReadyError, match="joint_reflex"):
        arm.follow(points_from(clock.now_ns))
    assert sent == []


def fail_to_recover() -> None:
    raise RecoveryError("the controllers did not start")


@pytest.mark.parametrize(
    ("options", "says"),
    [({}, "franka_msgs"), ({"recovery": fail_to_recover}, "the controllers did not start")],
)
def test_a_recovery_that_cannot_be_done_says_why(options: dict[str, object], says: str) -> None:
    arm, clock, _ = arm_and_clock(**options)
    arm.take_joint_state(clock.now_ns, HOME_RAD, None, 0.08)
    arm.take_robot_state(clock.now_ns, 4, ("joint_reflex",), None)
    with pytest.raises(RecoveryError, match=says):
        arm.recover()


def test_robot_states_that_stop_mean_a_lost_arm_even_while_joint_states_go_on() -> None:
    arm, clock, sent = arm_and_clock()
    arm.take_robot_state(clock.now_ns, 1, (), np.full(6, 1.0))
    clock.now_ns += STALE_AFTER_NS + 1
    arm.take_joint_state(clock.now_ns, HOME_RAD, None, 0.08)
    reading = arm.read()
    assert reading is not None
    assert (reading.mode, reading.external_wrench) == (ArmMode.DISCONNECTED, None)
    assert reading.errors == ("robot_state_silent",)
    with pytest.raises(ArmConnectionError, match="no robot states arrive"):
        arm.follow(points_from(clock.now_ns))
    assert sent == []
    arm.take_robot_state(clock.now_ns, 1, (), None)
    arm.follow(points_from(clock.now_ns))
    assert len(sent) == 1


def test_an_arm_that_never_says_a_robot_state_is_known_by_its_joint_states_alone() -> None:
    arm, clock, sent = arm_and_clock()
    clock.now_ns += STALE_AFTER_NS + 1
    arm.take_joint_state(clock.now_ns, HOME_RAD, None, 0.08)
    arm.follow(points_from(clock.now_ns))
    assert len(sent) == 1


class RobotInReflex:
    """An arm in a reflex; what its robot says after the recovery, one state in each pause, the last one for ever."""

    def __init__(self, *modes: int) -> None:
        self.modes = list(modes)
        self.arm, self.clock, _ = arm_and_clock(recovery=lambda: None, pause=self.pass_time)
        self.say(4)

    def say(self, mode: int) -> None:
        self.arm.take_joint_state(self.clock.now_ns, HOME_RAD, None, 0.08)
        self.arm.take_robot_state(self.clock.now_ns, mode, ("joint_reflex",) if mode != 1 else (), None)

    def pass_time(self, seconds: float) -> None:
        self.clock.now_ns += round(seconds * NS_PER_S)
        if self.modes:
            self.say(self.modes.pop(0) if len(self.modes) > 1 else self.modes[0])


def test_a_recovery_waits_until_the_robot_itself_says_that_it_is_ready() -> None:
    robot = RobotInReflex(4, 6, 1)
    robot.arm.recover()
    assert robot.modes == [1]
    reading = robot.arm.read()
    assert reading is not None
    assert (reading.mode, reading.errors) == (ArmMode.IDLE, ())


@pytest.mark.parametrize(
    ("modes", "says"), [((4,), r"the robot says reflex \(joint_reflex\)"), ((), "no robot state has come")]
)
def test_a_robot_that_is_not_ready_after_its_recovery_is_not_taken_for_idle(modes: tuple[int, ...], says: str) -> None:
    robot = RobotInReflex(*modes)
    with pytest.raises(RecoveryError, match=says):
        robot.arm.recover()
    reading = robot.arm.read()
    assert reading is not None
    assert reading.mode in (ArmMode.REFLEX, ArmMode.DISCONNECTED)
