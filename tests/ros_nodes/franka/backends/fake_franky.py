"""As much of the module ``franky`` as the backend uses, obeying at once and writing down what it is asked."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from sim_bridge.fr3 import HOME_RAD

LIMIT = np.full(7, 2.0)


class ControlException(Exception):
    """As libfranka's."""


class NetworkException(Exception):
    """As libfranka's."""


def errors(*names: str) -> SimpleNamespace:
    known = ("joint_velocity_violation", "communication_constraints_violation")
    return SimpleNamespace(**{name: name in names for name in known})


class Limit:
    def __init__(self) -> None:
        self.max = LIMIT
        self.value = LIMIT

    def set(self, value: np.ndarray) -> None:
        assert (np.asarray(value) <= self.max).all()
        self.value = np.asarray(value)

    def get(self) -> np.ndarray:
        return self.value


class Robot:
    """Attributes: calls: names of what was called, in order."""

    def __init__(self, address: str, **options: Any) -> None:
        self.calls: list[str] = []
        self.motions: list[Any] = []
        self.is_in_control = False
        self.fails_with: Exception | None = None
        self.refuses_with: Exception | None = None
        self.recovers = True
        self.joint_velocity_limit, self.joint_acceleration_limit, self.joint_jerk_limit = Limit(), Limit(), Limit()
        self.state = SimpleNamespace(
            q=HOME_RAD.copy(),
            dq=np.zeros(7),
            q_d=HOME_RAD.copy(),
            O_F_ext_hat_K=np.zeros(6),
            robot_mode=SimpleNamespace(name="Idle"),
            current_errors=errors(),
            last_motion_errors=errors(),
        )

    def move(self, motion: Any, **options: Any) -> None:
        if self.refuses_with is not None:
            refusal, self.refuses_with = self.refuses_with, None
            raise refusal
        self.motions.append(motion)
        self.is_in_control = not isinstance(motion, JointVelocityStopMotion)
        self.state.robot_mode.name = "Move" if self.is_in_control else "Idle"

    def poll_motion(self) -> bool:
        if self.fails_with is not None:
            failure, self.fails_with = self.fails_with, None
            raise failure
        return self.is_in_control

    def abort(self, name: str) -> None:
        self.is_in_control = False
        self.state.robot_mode.name = "Reflex"
        self.state.current_errors = self.state.last_motion_errors = errors(name)
        self.fails_with = ControlException(name)

    def join_motion(self, timeout: float) -> bool:
        self.calls.append("join_motion")
        return not self.is_in_control  # every motion but a stop holds for a day

    def recover_from_errors(self) -> bool:
        self.calls.append("recover_from_errors")
        if self.recovers:
            self.state.robot_mode.name, self.state.current_errors = "Idle", errors()
        return self.recovers


class Future:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.succeeds = True
        self.is_done = False

    def wait(self, timeout: float) -> bool:
        return self.is_done

    def get(self) -> bool:
        if self.error is not None:
            raise self.error
        return self.succeeds


class Gripper:
    """Attributes: commands: (name, width) in order; a test says when one is done."""

    def __init__(self, address: str = "") -> None:
        self.commands: list[tuple[str, float]] = []
        self.state = SimpleNamespace(width=0.08)
        self.futures: list[Future] = []

    def move_async(self, width: float, speed: float) -> Future:
        return self._command("move", width)

    def grasp_async(self, width: float, speed: float, force: float, inner: float, outer: float) -> Future:
        return self._command("grasp", width)

    def stop(self) -> bool:
        self.commands.append(("stop", 0.0))
        return True

    def _command(self, name: str, width: float) -> Future:
        self.commands.append((name, width))
        self.futures.append(Future())
        return self.futures[-1]


class JointVelocityStopMotion:
    """As franky's."""


def library() -> Any:
    """A fresh module; ``robot`` is the last one that was made."""
    module = SimpleNamespace(
        ControlException=ControlException,
        NetworkException=NetworkException,
        RealtimeConfig=SimpleNamespace(Enforce="enforce", Ignore="ignore"),
        RelativeDynamicsFactor=lambda *shares: shares,
        Duration=lambda milliseconds: milliseconds,
        JointVelocityWaypoint=lambda velocity, **options: SimpleNamespace(velocity=velocity, **options),
        JointVelocityWaypointMotion=lambda waypoints: SimpleNamespace(waypoints=waypoints),
        JointVelocityStopMotion=JointVelocityStopMotion,
        Gripper=Gripper,
    )

    def connect(address: str, **options: Any) -> Robot:
        module.robot = Robot(address, **options)
        return module.robot

    module.Robot = connect
    return module
