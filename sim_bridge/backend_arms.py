"""Policies in a MuJoCo world through ``arm_node``'s own control and a backend, in simulated time.

What ``arm_node`` does every 20 ms in real time, without a clock: so the same episode can be run through every backend and
compared, however slow the machine is.
"""

import contextlib
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.clock import NS_PER_MS
from ros_nodes.franka.arm_control import ArmControl
from ros_nodes.franka.backends.backend import ArmBackend, ArmMode, ArmReading
from ros_nodes.franka.backends.fake_arm import FakeArm
from ros_nodes.franka.backends.franky_settings import FrankySettings
from ros_nodes.franka.backends.trajectory_topic import TrajectoryTopicArm
from ros_nodes.franka.chunk_checks import ChunkRefused
from ros_nodes.franka.set_points import SetPoints
from ros_nodes.franka.settings import GuardSettings
from sim_bridge.arm import GRIPPER_JOINTS, Controllers
from sim_bridge.fr3 import ARM_JOINTS, COMMAND_JOINTS
from sim_bridge.franky_emulation import EmulatedVelocityMotions
from sim_bridge.tasks.task import PHYSICS_STEP_NS, STEPS_PER_TICK
from sim_bridge.world import World

FloatArray = NDArray[np.float64]
COMMAND_PERIOD_NS = 20 * NS_PER_MS
LOOKAHEAD_NS = 40 * NS_PER_MS
_STEPS = COMMAND_PERIOD_NS // PHYSICS_STEP_NS
_ARM = len(ARM_JOINTS)


class SimulatedArm(Protocol):
    """A backend and what it commands."""

    backend: ArmBackend

    def measure(self, now_ns: int, joints: FloatArray) -> None:
        """What the world's joints are now, float64 (9,), rad and m."""
        ...

    def upcoming(self, now_ns: int) -> FloatArray:
        """What the arm is commanded in the next 20 ms, one row per physics step, float64 (steps, 8)."""
        ...


MakeArm = Callable[[GuardSettings, FloatArray, Callable[[], int]], SimulatedArm]


class ControlledArm:
    """Executes action chunks in a world, tick by tick, as ``arm_node`` would with this backend."""

    def __init__(self, settings: GuardSettings, make_arm: MakeArm) -> None:
        self._settings = settings
        self._make_arm = make_arm
        self._now_ns = 0

    def latch(self, world: World) -> None:
        """Take over where the world's arm stands, at the start of an episode."""
        self._now_ns = world.time_ns
        self._arm = self._make_arm(self._settings, world.set_point, lambda: self._now_ns)
        self._arm.measure(self._now_ns, world.joint_positions())
        self._control = ArmControl(self._settings, self._arm.backend, auto_arm=True, auto_resume=True)

    def execute(self, chunk: ActionChunk, world: World) -> None:
        """Follow ``chunk`` for one policy tick; one that the guard refuses is passed over."""
        if self._control.is_ready_for(chunk, self._now_ns):
            with contextlib.suppress(ChunkRefused):
                self._control.follow(chunk, self._now_ns)
        for _ in range(STEPS_PER_TICK // _STEPS):
            self._control.advance(self._now_ns, self._now_ns + LOOKAHEAD_NS)
            world.advance(self._arm.upcoming(self._now_ns))
            self._now_ns += COMMAND_PERIOD_NS
            self._arm.measure(self._now_ns, world.joint_positions())


class TopicArm:
    """``trajectory_topic``, with the controller stand-ins behind it."""

    def __init__(self, settings: GuardSettings, start: FloatArray, clock_ns: Callable[[], int]) -> None:
        self._controllers = Controllers()
        self._controllers.reset(start)
        self._clock_ns = clock_ns
        self._topic = TrajectoryTopicArm(self._send, clock_ns)
        self.backend: ArmBackend = self._topic

    def measure(self, now_ns: int, joints: FloatArray) -> None:
        self._topic.take_joint_state(now_ns, joints[:_ARM], None, 2.0 * float(joints[_ARM]))

    def upcoming(self, now_ns: int) -> FloatArray:
        return self._controllers.upcoming(now_ns, _STEPS)

    def _send(self, points: SetPoints) -> None:
        now_ns = self._clock_ns()
        times_ns = points.times_ns - now_ns
        self._controllers.gripper.accept(now_ns, GRIPPER_JOINTS, times_ns, points.positions[:, _ARM:], now_ns)
        self._controllers.arm.accept(now_ns, ARM_JOINTS, times_ns, points.positions[:, :_ARM], now_ns)


class EmulatedFrankyArm:
    """``franky``: its motions emulated, and a hand that moves at one speed. It is its own backend."""

    def __init__(self, settings: GuardSettings, start: FloatArray, clock_ns: Callable[[], int]) -> None:
        self.backend: ArmBackend = self
        self._franky = FrankySettings("emulated")
        self._motions = EmulatedVelocityMotions(settings.limits, self._franky, start[:_ARM])
        self._clock_ns = clock_ns
        self._finger_m = self._finger_goal_m = float(start[_ARM])
        self._reading: ArmReading | None = None
        self._moved = False

    def measure(self, now_ns: int, joints: FloatArray) -> None:
        width_m = 2.0 * float(joints[_ARM])
        mode = ArmMode.MOVING if self._moved else ArmMode.IDLE
        self._reading = ArmReading(now_ns, joints[:_ARM], np.zeros(_ARM), None, width_m, mode, ())

    def upcoming(self, now_ns: int) -> FloatArray:
        rows = np.empty((_STEPS, len(COMMAND_JOINTS)))
        reach_m = 0.5 * self._franky.hand_speed_m_s * PHYSICS_STEP_NS * 1e-9
        for row in rows:
            for _ in range(PHYSICS_STEP_NS // NS_PER_MS):
                row[:_ARM] = self._motions.step()
            self._finger_m += float(np.clip(self._finger_goal_m - self._finger_m, -reach_m, reach_m))
            row[_ARM] = self._finger_m
        return rows

    def read(self) -> ArmReading | None:
        return self._reading

    def follow(self, points: SetPoints) -> None:
        self._moved = True
        self._finger_goal_m = float(points.positions[-1, _ARM])
        self._motions.take_over(points, self._clock_ns())

    def stop(self) -> None:
        """Nothing to end: without a new motion the one that runs brakes and holds."""

    def recover(self) -> None:
        """It has no reflexes."""

    def close(self) -> None:
        """It holds nothing."""


class LateArm:
    """The fake that follows 30 ms late and loses every tenth set of set-points."""

    def __init__(self, settings: GuardSettings, start: FloatArray, clock_ns: Callable[[], int]) -> None:
        self._time_ns = clock_ns()
        self._fake = FakeArm(
            start[:_ARM],
            lambda: self._time_ns,
            delay_ns=30 * NS_PER_MS,
            loss=0.1,
            gripper_width_m=2.0 * float(start[_ARM]),
        )
        self.backend: ArmBackend = self._fake

    def measure(self, now_ns: int, joints: FloatArray) -> None:
        self._time_ns = now_ns

    def upcoming(self, now_ns: int) -> FloatArray:
        rows = np.empty((_STEPS, len(COMMAND_JOINTS)))
        for number, row in enumerate(rows, start=1):
            self._time_ns = now_ns + number * PHYSICS_STEP_NS
            reading = self._fake.read()
            assert reading is not None and reading.gripper_width_m is not None
            row[:_ARM], row[_ARM] = reading.positions_rad, reading.gripper_width_m / 2
        self._time_ns = now_ns
        return rows


ARMS: dict[str, MakeArm] = {"trajectory_topic": TopicArm, "franky": EmulatedFrankyArm, "late and lossy": LateArm}
