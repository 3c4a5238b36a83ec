"""An arm behind trajectory controllers: those of ``franka_ros2`` on a robot, or the MuJoCo bridge's.

Plain Python: the node hands in what it receives and gives the functions that send.
"""

from collections.abc import Callable

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


class TrajectoryTopicArm:
    """Sends set-points as trajectories and believes the joint states; see ``ArmBackend``.

    Every trajectory ends at rest and the newest one replaces those before, so a stop sends nothing: the arm runs out the
    braking end of what it has. Without a robot state it takes the arm to be ready as long as joint states arrive.
    """

    def __init__(
        self,
        send: Send,
        send_gripper_width: Callable[[float], None],
        clock_ns: ClockNs,
        recovery: "Callable[[], str] | None" = None,
    ) -> None:
        """``send`` publishes set-points; ``recovery`` brings the robot back from a reflex and returns what failed, or ""."""
        self._send = send
        self._send_gripper_width = send_gripper_width
        self._clock_ns = clock_ns
        self._recovery = recovery
        self._end_ns: int | None = None
        self._joints: tuple[int, FloatArray, FloatArray, float | None] | None = None
        self._robot_mode: ArmMode | None = None
        self._robot_errors: tuple[str, ...] = ()
        self._wrench: FloatArray | None = None
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

    def take_robot_state(self, robot_mode: int, errors: tuple[str, ...], external_wrench: FloatArray | None) -> None:
        """What ``franka_robot_state_broadcaster`` says, where it runs; wrench float64 (6,), N and Nm, base frame."""
        self._robot_mode = ROBOT_MODES.get(robot_mode, ArmMode.USER_STOPPED)
        self._robot_errors = errors
        self._wrench = external_wrench

    def read(self) -> ArmReading | None:
        if self._joints is None:
            return None
        stamp_ns, positions, velocities, width = self._joints
        return ArmReading(stamp_ns, positions, velocities, self._wrench, width, self._mode(), self._robot_errors)

    def follow(self, points: SetPoints) -> None:
        mode = self._mode()
        if mode == ArmMode.DISCONNECTED:
            raise ArmConnectionError("no joint states arrive: check the robot's driver and its joint_states topic")
        if mode not in _READY:
            errors = ", ".join(self._robot_errors)
            raise ArmNotReadyError(f"the arm is in mode {mode} ({errors}): recover it first")
        now_ns = self._clock_ns()
        if len(points) and points.times_ns[-1] > now_ns:
            self._end_ns = int(points.times_ns[-1])
            self._send(points)

    def move_gripper(self, width_m: float) -> None:
        self._send_gripper_width(width_m)

    def stop(self) -> None:
        """The trajectory sent last ends at rest; see the class."""

    def recover(self) -> None:
        if self._mode() in _READY:
            return
        self._end_ns = None
        if self._robot_mode == ArmMode.USER_STOPPED:
            raise RecoveryError(
                "the arm is user stopped: release the enabling button or the emergency stop, then recover again"
            )
        if self._recovery is None:
            raise RecoveryError(
                "no error recovery is reachable: is franka_ros2 running and franka_msgs installed? else recover in Desk"
            )
        if failed := self._recovery():
            raise RecoveryError(f"recovery failed: {failed}; see the robot's log, then recover again")
        self._robot_mode, self._robot_errors = None, ()  # until the robot says otherwise

    def close(self) -> None:
        self.stop()
        self._closed = True

    def _mode(self) -> ArmMode:
        now_ns = self._clock_ns()
        if self._closed or self._joints is None or now_ns - self._joints[0] > STALE_AFTER_NS:
            return ArmMode.DISCONNECTED
        if self._robot_mode is not None and self._robot_mode not in _READY:
            return self._robot_mode
        return ArmMode.MOVING if self._end_ns is not None and now_ns < self._end_ns else ArmMode.IDLE

    def _velocities(self, stamp_ns: int, positions_rad: FloatArray) -> FloatArray:
        if self._joints is None or stamp_ns <= self._joints[0]:
            return np.zeros_like(positions_rad)
        return (positions_rad - self._joints[1]) * (NS_PER_S / (stamp_ns - self._joints[0]))
