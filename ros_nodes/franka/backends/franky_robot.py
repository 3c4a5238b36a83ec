"""Connecting to a robot through franky, and bringing it back after a reflex."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ros_nodes.franka.backends.backend import ArmConnectionError, BackendError, RecoveryError
from ros_nodes.franka.backends.franky_library import error_names, one_line
from ros_nodes.franka.backends.franky_settings import FrankySettings
from ros_nodes.franka.backends.lead import ARM_JOINTS
from ros_nodes.franka.limits import JointLimits

_NO_FILTER_HZ = 1000.0
_AT_REST_RAD_S = 0.02
_POLL_S = 0.02


def connect(franky: Any, settings: FrankySettings, limits: JointLimits) -> tuple[Any, Any]:
    """franky's robot, planning with the robot's limits, and its gripper, None without a hand. Raises ArmConnectionError."""
    realtime = franky.RealtimeConfig.Enforce if settings.require_realtime else franky.RealtimeConfig.Ignore
    try:
        robot = franky.Robot(
            settings.address,
            realtime_config=realtime,
            default_torque_threshold=settings.contact_torque_nm,
            default_force_threshold=settings.contact_force_n,
        )
        hand = franky.Gripper(settings.address) if settings.hand else None
    except Exception as error:
        raise ArmConnectionError(
            f"no robot at {settings.address}: {one_line(error)}; check the cable, the address, that Desk's FCI is active and the brakes "
            "are open"
        ) from None
    _set_limits(franky, robot, settings, limits)
    return robot, hand


def move(robot: Any, motion: Any) -> None:
    """Start a motion, or have it take over from the one that runs; returns at once."""
    robot.move(motion, asynchronous=True, cutoff_frequency=_NO_FILTER_HZ)


def recover(franky: Any, robot: Any, settings: FrankySettings) -> None:
    """From a reflex to idle and at rest. Raises RecoveryError, which names the step that failed."""
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("end the aborted motion", lambda: _join_aborted(franky, robot, settings.stop_s)),
        ("see that nobody holds the stop", lambda: _require_released(robot)),
        ("acknowledge the errors", lambda: _acknowledge(robot)),
        ("wait until the arm is at rest", lambda: _await_rest(robot, settings.recover_s)),
    )
    for name, step in steps:
        try:
            step()
        except BackendError:
            raise
        except Exception as error:
            raise RecoveryError(
                f"recovery failed at '{name}': {one_line(error)}; see Desk, then recover again"
            ) from None


def _set_limits(franky: Any, robot: Any, settings: FrankySettings, limits: JointLimits) -> None:
    arm = slice(0, ARM_JOINTS)
    for limit, allowed in (
        (robot.joint_velocity_limit, limits.velocity[arm]),
        (robot.joint_acceleration_limit, limits.acceleration[arm]),
        (robot.joint_jerk_limit, limits.jerk[arm]),
    ):
        # franky refuses more than the Panda's limits.
        limit.set(np.minimum(allowed, limit.max))
    shares = (settings.lead.velocity_share, settings.acceleration_share, settings.jerk_share)
    robot.relative_dynamics_factor = franky.RelativeDynamicsFactor(*shares)


def _join_aborted(franky: Any, robot: Any, patience_s: float) -> None:
    with contextlib.suppress(franky.ControlException):  # what it says is known already
        if robot.is_in_control:
            # Not the robot ended it, franky refused what should have followed: it holds and would never end by itself.
            move(robot, franky.JointVelocityStopMotion())
        if not robot.join_motion(patience_s):
            raise RecoveryError(f"the aborted motion does not end within {patience_s} s; restart the node")


def _require_released(robot: Any) -> None:
    if robot.state.robot_mode.name == "UserStopped":
        raise RecoveryError(
            "the arm is user stopped: release the enabling button or the emergency stop, then recover again"
        )


def _acknowledge(robot: Any) -> None:
    if not robot.recover_from_errors():
        names = ", ".join(error_names(robot.state.current_errors)) or "no name given"
        raise RecoveryError(f"the robot does not recover by itself ({names}): see Desk, then recover again")


def _await_rest(robot: Any, patience_s: float) -> None:
    deadline_s = time.monotonic() + patience_s
    while True:
        state = robot.state
        is_still = bool(np.abs(state.dq).max() <= _AT_REST_RAD_S)
        if state.robot_mode.name == "Idle" and is_still and not error_names(state.current_errors):
            return
        if time.monotonic() > deadline_s:
            raise RecoveryError(
                f"the arm is not idle and at rest {patience_s} s after its errors were acknowledged: its mode is "
                f"{state.robot_mode.name}; see Desk, then recover again"
            )
        time.sleep(_POLL_S)
