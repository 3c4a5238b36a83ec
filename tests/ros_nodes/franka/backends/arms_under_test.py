"""Every arm that the backends' common tests run over, each behind one handle."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from policy_server.runtime.clock import NS_PER_S, seconds_to_ns
from policy_server.runtime.resources import resource
from ros_nodes import messages
from ros_nodes.franka.backends.backend import ArmBackend, ArmMode
from ros_nodes.franka.backends.fake_arm import FakeArm
from ros_nodes.franka.backends.trajectory_topic import TrajectoryTopicArm
from ros_nodes.franka.limits import FloatArray
from ros_nodes.franka.set_points import JointMotion, SetPoints
from ros_nodes.franka.settings import load_guard_settings
from sim_bridge.arm import Controllers
from sim_bridge.fr3 import ARM_JOINTS, COMMAND_JOINTS, HOME_RAD
from sim_bridge.tasks.registry import task_by_name
from sim_bridge.tasks.task import PHYSICS_STEP_NS
from sim_bridge.world import World

PERIOD_NS = NS_PER_S // 100
EPOCH_NS = 1_800_000_000 * NS_PER_S
GRIPPER_JOINTS = COMMAND_JOINTS[len(ARM_JOINTS) :]


@dataclass
class ArmUnderTest:
    """A backend, the time it lives in, and what a test may do to its robot.

    Attributes:
        pass_time: let this many seconds go by.
        fail: make the robot stop by itself with a named error; None where that cannot be had.
        user_stop: press (true) or release (false) the enabling button; None where there is none.
        tolerance_rad: how near the arm comes to a set-point at its time; None where the machine decides.
    """

    backend: ArmBackend
    now_ns: Callable[[], int]
    pass_time: Callable[[float], None]
    fail: Callable[[str], None] | None = None
    user_stop: Callable[[bool], None] | None = None
    tolerance_rad: float | None = 1e-6
    moments: list[int] = field(default_factory=list)

    @property
    def position_rad(self) -> FloatArray:
        reading = self.backend.read()
        assert reading is not None
        return reading.positions_rad

    @property
    def mode(self) -> ArmMode:
        reading = self.backend.read()
        assert reading is not None
        return reading.mode

    def wait_for(self, condition: Callable[[], bool], what: str, patience_s: float = 20.0) -> None:
        for _ in range(round(patience_s / 0.01)):
            if condition():
                return
            self.pass_time(0.01)
        raise AssertionError(f"waited in vain for {what}; the reading is {self.backend.read()}")

    def way_to(self, goal_rad: FloatArray, duration_s: float, finger_m: float = 0.04) -> SetPoints:
        """A smooth way from where the arm stands; it begins and ends at rest."""
        start = np.append(self.position_rad, finger_m)
        steps = round(duration_s * 100)
        share = np.arange(steps + 1) / steps
        way = np.append(goal_rad, finger_m) - start
        course = share**3 * (10 - 15 * share + 6 * share**2)
        pace = 30 * share**2 * (1 - share) ** 2 / duration_s
        begin_ns = self.now_ns() // PERIOD_NS * PERIOD_NS
        return SetPoints.of(
            [begin_ns + k * PERIOD_NS for k in range(steps + 1)],
            [JointMotion(start + c * way, v * way, np.zeros_like(way)) for c, v in zip(course, pace, strict=True)],
            len(start),
            "running",
        )

    def drive(self, points: SetPoints, watch: Callable[[], None] = lambda: None) -> None:
        """Give the set-points as ``arm_node`` does: again and again, without those that have passed."""
        while self.now_ns() < points.times_ns[-1]:
            self.backend.follow(since(points, self.now_ns()))
            self.pass_time(0.02)
            watch()


def since(points: SetPoints, now_ns: int) -> SetPoints:
    """The set-points that are still to come."""
    first = int(np.searchsorted(points.times_ns, now_ns, side="right"))
    rows = slice(min(first, len(points) - 1), None)
    return SetPoints(
        points.times_ns[rows], points.positions[rows], points.velocities[rows], points.accelerations[rows], points.state
    )


class SteppedClock:
    """Time that passes when a test says so."""

    def __init__(self, step: Callable[[], None] = lambda: None) -> None:
        self.now_ns = EPOCH_NS
        self.step = step

    def __call__(self) -> int:
        return self.now_ns

    def pass_time(self, seconds: float) -> None:
        until_ns = self.now_ns + seconds_to_ns(seconds)
        while self.now_ns < until_ns:
            self.now_ns = min(self.now_ns + PHYSICS_STEP_NS, until_ns)
            self.step()


@contextmanager
def fake_arm(delay_ns: int = 0, loss: float = 0.0) -> Iterator[ArmUnderTest]:
    """The fake, plain or with a delay and losses."""
    clock = SteppedClock()
    arm = FakeArm(HOME_RAD, clock, delay_ns=delay_ns, loss=loss)

    def user_stop(pressed: bool) -> None:
        if pressed:
            arm.fail(ArmMode.USER_STOPPED, "user_stop")
        else:
            arm.fail(ArmMode.REFLEX, "user_stop")

    yield ArmUnderTest(
        arm,
        clock,
        clock.pass_time,
        fail=lambda error: arm.fail(ArmMode.REFLEX, error),
        user_stop=user_stop,
        tolerance_rad=1e-6 if not delay_ns and not loss else 0.05,
    )
    arm.close()


class TopicRobot:
    """What is behind the trajectory topics: controllers, messages in between, and a robot state."""

    def __init__(self) -> None:
        self.controllers = Controllers()
        self.controllers.reset(np.append(HOME_RAD, 0.04))
        self.mode = 1
        self.errors: tuple[str, ...] = ()

    def send(self, now_ns: int, points: SetPoints) -> None:
        if self.mode != 1:
            return
        arm = len(ARM_JOINTS)
        for controller, joints, columns in (
            (self.controllers.arm, ARM_JOINTS, slice(0, arm)),
            (self.controllers.gripper, GRIPPER_JOINTS, slice(arm, None)),
        ):
            sent = messages.targets_to_trajectory(
                messages.JointTargets(
                    now_ns, joints, points.times_ns, points.positions[:, columns], points.velocities[:, columns]
                )
            )
            targets = messages.trajectory_to_targets(sent)
            controller.accept(now_ns, targets.joints, targets.times_ns - now_ns, targets.positions, now_ns)

    def fail(self, now_ns: int, mode: int, error: str) -> None:
        self.mode, self.errors = mode, (error,)
        self.controllers.reset(self.controllers.upcoming(now_ns - PHYSICS_STEP_NS, 1)[0])

    def recover(self) -> None:
        self.mode, self.errors = 1, ()


@contextmanager
def topic_arm(world: World | None = None) -> Iterator[ArmUnderTest]:
    """The trajectory topics: against the controller stand-in alone, or with MuJoCo's arm behind it."""
    robot = TopicRobot()
    clock = SteppedClock()
    arm = TrajectoryTopicArm(
        lambda points: robot.send(clock.now_ns, points),
        clock,
        robot.recover,
        clock.pass_time,
    )

    def measure() -> None:
        set_point = robot.controllers.upcoming(clock.now_ns - PHYSICS_STEP_NS, 1)
        measured = set_point[0]
        if world is not None:
            world.advance(set_point)
            measured = world.joint_positions()
        arm.take_joint_state(clock.now_ns, measured[:7].copy(), None, 2.0 * float(measured[7]))
        arm.take_robot_state(clock.now_ns, robot.mode, robot.errors, None)

    if world is not None:
        robot.controllers.reset(world.set_point)
    clock.step = measure
    clock.pass_time(0.01)
    yield ArmUnderTest(
        arm,
        clock,
        clock.pass_time,
        fail=lambda error: robot.fail(clock.now_ns, 4, error),
        user_stop=lambda pressed: robot.fail(clock.now_ns, 5 if pressed else 4, "user_stop"),
        tolerance_rad=1e-3 if world is None else 0.02,
    )
    arm.close()


@contextmanager
def mujoco_arm() -> Iterator[ArmUnderTest]:
    """The bridge's physics behind the trajectory topics."""
    world = World(task_by_name("reach_cued"), [])
    with topic_arm(world) as arm:
        yield arm
    world.close()


@contextmanager
def franky_arm(host: str) -> Iterator[ArmUnderTest]:
    """libfranka against the loopback robot, in real time."""
    from ros_nodes.franka.backends.franky_arm import FrankyArm
    from ros_nodes.franka.backends.franky_settings import FrankySettings
    from sim_bridge.loopback.robot import LoopbackRobot

    limits = load_guard_settings(resource("config/arm.yaml")).limits
    with LoopbackRobot(host) as robot:
        arm = FrankyArm(FrankySettings(host, require_realtime=False), limits)
        yield ArmUnderTest(
            arm,
            time.time_ns,
            time.sleep,
            fail=robot.reflex,
            user_stop=lambda pressed: robot.press_user_stop() if pressed else robot.release_user_stop(),
            tolerance_rad=None,
        )
        arm.close()
