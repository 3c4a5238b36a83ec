"""An arm behind trajectory controllers: those of ``franka_ros2`` on a robot, or the MuJoCo bridge's.

Plain Python: the node hands in what it receives and gives the functions that send.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from policy_server.runtime.clock import NS_PER_S
from ros_nodes.franka.backends.backend import (
    ArmConnectionError,
    ArmMode,
    ArmNotReadyError,
    ArmReading,
    RecoveryError,
)
from ros_nodes.franka.limits import FloatArray
from ros_nodes.franka.set_points import SetPoints

ClockNs = Callable[[], int]
Send = Callable[[SetPoints], None]

_READY = (ArmMode.IDLE, ArmMode.MOVING)
STALE_AFTER_NS = NS_PER_S // 2
_READY_AGAIN_S = 5.0
_LOOK_AGAIN_S = 0.02

ROBOT_MODES = {
    0: ArmMode.USER_STOPPED,  # other: not ready for motions
    1: ArmMode.IDLE,
    2: ArmMode.MOVING,
    3: ArmMode.USER_STOPPED,  # guided by hand
    4: ArmMode.REFLEX,
    5: ArmMode.USER_STOPPED,
    6: ArmMode.REFLEX,  # on its way back from a reflex
}
"""``robot_mode`` of franka_msgs/FrankaRobotState."""


@dataclass(frozen=True)
class _RobotState:
    heard_ns: int
    mode: ArmMode
    errors: tuple[str, ...]
    external_wrench: FloatArray | None


class TrajectoryTopicArm:
    """Sends set-points as trajectories and believes the joint states; see ``ArmBackend``.

    Every trajectory ends at rest and the newest one replaces those before, so a stop sends nothing: the arm runs out the
    braking end of what it has. Where no robot state was ever heard, it takes the arm to be ready as long as joint states
    arrive; once one was heard, an arm whose robot states stop is as lost as one whose joint states stop.
    """

    def __init__(
        self,
        send: Send,
        clock_ns: ClockNs,
        recovery: Callable[[], None] | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """``send`` publishes set-points. ``recovery`` brings the robot back from a reflex or raises RecoveryError. ``pause``
        lets so many seconds go by while a recovery waits for the robot."""
        self._send = send
        self._clock_ns = clock_ns
        self._recovery = recovery
        self._pause = pause
        self._end_ns: int | None = None
        self._joints: tuple[int, FloatArray, FloatArray, float | None] | None = None
        self._robot_state: _RobotState | None = None
        self._closed = False

    def take_joint_state(
        self,
        stamp_ns: int,
        positions_rad: FloatArray,
        velocities_rad_s: FloatArray | None,
        gripper_width_m: float | None,
    ) -> None:
        """A measurement: float64 (7,) each; without velocities they come from the positions before."""
        if velocities_rad_s is None:
            velocities_rad_s = self._velocities(stamp_ns, positions_rad)
        self._joints = (stamp_ns, positions_rad, velocities_rad_s, gripper_width_m)

    def take_robot_state(
        self, heard_ns: int, robot_mode: int, errors: tuple[str, ...], external_wrench: FloatArray | None
    ) -> None:
        """What ``franka_robot_state_broadcaster`` says, where it runs; wrench float64 (6,), N and Nm, base frame."""
        mode = ROBOT_MODES.get(robot_mode, ArmMode.USER_STOPPED)
        self._robot_state = _RobotState(heard_ns, mode, errors, external_wrench)

    def read(self) -> ArmReading | None:
        if self._joints is None:
            return None
        stamp_ns, positions, velocities, width = self._joints
        state = self._robot_state
        if state is not None and not self._is_recent(state.heard_ns):
            state = replace(state, errors=("robot_state_silent",), external_wrench=None)
        errors, wrench = (state.errors, state.external_wrench) if state is not None else ((), None)
        return ArmReading(stamp_ns, positions, velocities, wrench, width, self._mode(), errors)

    def follow(self, points: SetPoints) -> None:
        mode = self._mode()
        if mode == ArmMode.DISCONNECTED:
            raise ArmConnectionError(
                f"no {self._silent() or 'messages'} arrive: check the robot's driver and its topics"
            )
        if mode not in _READY:
            errors = ", ".join(self._robot_state.errors if self._robot_state is not None else ())
            raise ArmNotReadyError(f"the arm is in mode {mode} ({errors}): recover it first")
        now_ns = self._clock_ns()
        if len(points) and points.times_ns[-1] > now_ns:
            self._end_ns = int(points.times_ns[-1])
            self._send(points)

    def stop(self) -> None:
        """The trajectory sent last ends at rest; see the class."""

    def recover(self) -> None:
        if self._mode() in _READY:
            return
        self._end_ns = None
        if self._mode() == ArmMode.USER_STOPPED:
            raise RecoveryError(
                "the arm is user stopped: release the enabling button or the emergency stop, then recover again"
            )
        if self._recovery is None:
            raise RecoveryError(
                "no error recovery is reachable: is franka_ros2 running and franka_msgs installed? else recover in Desk"
            )
        self._recovery()
        self._await_ready()

    def close(self) -> None:
        self.stop()
        self._closed = True

    def _mode(self) -> ArmMode:
        state = self._robot_state
        if self._closed or self._silent():
            return ArmMode.DISCONNECTED
        if state is not None and state.mode not in _READY:
            return state.mode
        return ArmMode.MOVING if self._end_ns is not None and self._clock_ns() < self._end_ns else ArmMode.IDLE

    def _silent(self) -> str:
        """Which of the robot's messages do not arrive, "" while all do."""
        if self._joints is None or not self._is_recent(self._joints[0]):
            return "joint states"
        state = self._robot_state
        return "robot states" if state is not None and not self._is_recent(state.heard_ns) else ""

    def _is_recent(self, stamp_ns: int) -> bool:
        return self._clock_ns() - stamp_ns <= STALE_AFTER_NS

    def _await_ready(self) -> None:
        """Wait until the robot itself says that it is ready; what it said before the recovery does not count."""
        before = self._robot_state
        if before is None:
            return  # it never says anything
        state = before
        for _ in range(round(_READY_AGAIN_S / _LOOK_AGAIN_S)):
            state = self._robot_state or before
            if state is not before and state.mode in _READY:
                return
            self._pause(_LOOK_AGAIN_S)
        said = f"the robot says {state.mode} ({', '.join(state.errors) or 'no error named'})"
        raise RecoveryError(
            f"{_READY_AGAIN_S:.0f} s after the recovery {'no robot state has come' if state is before else said}: see the robot's "
            "log and Desk, then recover again"
        )

    def _velocities(self, stamp_ns: int, positions_rad: FloatArray) -> FloatArray:
        if self._joints is None or stamp_ns <= self._joints[0]:
            return np.zeros_like(positions_rad)
        return (positions_rad - self._joints[1]) * (NS_PER_S / (stamp_ns - self._joints[0]))
