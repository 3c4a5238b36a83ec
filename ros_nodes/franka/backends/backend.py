"""What an arm looks like from the guard's side: one small interface, one file per kind of arm behind it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from policy_server.runtime.errors import PolicyError
from ros_nodes.franka.limits import FloatArray
from ros_nodes.franka.set_points import SetPoints


class ArmMode(StrEnum):
    """What the arm does, whoever built it."""

    IDLE = "idle"  # at rest, brakes open, no motion runs
    MOVING = "moving"  # follows set-points; also while it holds the last of them
    REFLEX = "reflex"  # the robot aborted a motion by itself; it moves again only after `recover`
    USER_STOPPED = "user_stopped"  # the enabling button or emergency stop; only a person ends that
    DISCONNECTED = "disconnected"  # nobody answers


@dataclass(frozen=True)
class ArmReading:
    """What the arm measured last.

    Attributes:
        stamp_ns: when, on the clock that set-points are stamped with.
        positions_rad: float64 (7,).
        velocities_rad_s: float64 (7,).
        external_wrench: float64 (6,), what the world does to the hand: force (N), torque (Nm), in the base frame; None
            where the robot does not say.
        gripper_width_m: distance between both fingers; None while it is not known.
        mode: see ``ArmMode``.
        errors: the robot's own names of what is wrong, e.g. "joint_velocity_discontinuity"; empty when nothing is.
    """

    stamp_ns: int
    positions_rad: FloatArray
    velocities_rad_s: FloatArray
    external_wrench: FloatArray | None
    gripper_width_m: float | None
    mode: ArmMode
    errors: tuple[str, ...]


class BackendError(PolicyError):
    """The arm cannot be reached, cannot be driven, or did not recover."""


class BackendMissingError(BackendError):
    """A package that this backend needs is not installed."""


class ArmConnectionError(BackendError):
    """Nobody answers at the robot's address, or the connection was lost."""


class ArmNotReadyError(BackendError):
    """The arm takes no motion in its present mode: it is in a reflex, user stopped, or was not recovered."""


class RecoveryError(BackendError):
    """A step of the recovery failed; names the step."""


class ArmBackend(Protocol):
    """An arm that is open. Calls come from one thread and return at once: what takes longer runs in the backend.

    The order after a reflex: ``read`` reports ``REFLEX`` with the robot's errors, set-points are refused; ``recover``;
    ``read`` reports ``IDLE``; the guard is latched anew; ``follow``.
    """

    def read(self) -> ArmReading | None:
        """The newest measurement; None before the first one."""
        ...

    def follow(self, points: SetPoints) -> None:
        """Follow these set-points, in place of all that were given before.

        The columns are the guard's joints: seven of the arm (rad), then one finger (m, half of the width). The stamps are
        absolute; points of the past are passed over; the last one is at rest, and there the arm stays. The first call
        starts a motion where the arm stands, so that set-point must be there. No points change nothing. The gripper goes to
        the finger's last width beside the arm and never holds it up; what the hand refuses shows in ``read().errors``, where
        the backend hears of it.

        Raises:
            ArmNotReadyError: the mode is not idle or moving.
            ArmConnectionError: nobody answers.
        """
        ...

    def stop(self) -> None:
        """Come to rest now, as fast as the limits allow, and end the motion; set-points given before are forgotten.

        May be called in every mode, also twice.
        """
        ...

    def recover(self) -> None:
        """Bring the arm from a reflex back to ``IDLE``, at rest, with the errors acknowledged; starts no motion.

        May take seconds. Without a reflex it does nothing.

        Raises:
            RecoveryError: a step failed, or the arm is user stopped and a person has to release it first.
            ArmConnectionError: nobody answers.
        """
        ...

    def close(self) -> None:
        """Stop, and let go of the arm. May be called twice; afterwards ``read`` reports ``DISCONNECTED`` or None."""
        ...
