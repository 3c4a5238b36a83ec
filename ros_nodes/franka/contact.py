"""The wrench guard: what the world may do to the arm before it has to stop."""

from dataclasses import dataclass

import numpy as np

from ros_nodes.franka.limits import FloatArray

FORCE = "external_force"
TORQUE = "external_torque"
JOINT_TORQUE = "joint_torque"
CONTACT_REASONS = (FORCE, TORQUE, JOINT_TORQUE)


@dataclass(frozen=True)
class ContactLimits:
    """What is allowed at most; 0 allows nothing.

    Attributes:
        force_n: size of the external force at the hand, N.
        torque_nm: size of the external torque at the hand, Nm.
        joint_torques_nm: size of the measured torque of each arm joint, float64 (7,), Nm.
    """

    force_n: float
    torque_nm: float
    joint_torques_nm: FloatArray


@dataclass(frozen=True)
class Contact:
    """A limit that is exceeded: which of ``CONTACT_REASONS``, and a line for the operator."""

    reason: str
    message: str


def wrench_contact(wrench: FloatArray, limits: ContactLimits) -> Contact | None:
    """What is wrong with an external wrench, float64 (6,): force (N), torque (Nm). A number that is not finite is."""
    force_n, torque_nm = float(np.linalg.norm(wrench[:3])), float(np.linalg.norm(wrench[3:]))
    if not force_n <= limits.force_n:
        return Contact(FORCE, f"the hand feels {force_n:.1f} N (at most {limits.force_n:.1f} N): free the arm")
    if not torque_nm <= limits.torque_nm:
        return Contact(TORQUE, f"the hand feels {torque_nm:.1f} Nm (at most {limits.torque_nm:.1f} Nm): free the arm")
    return None


def torque_contact(torques_nm: FloatArray, limits: ContactLimits) -> Contact | None:
    """What is wrong with measured joint torques, float64 (7,), Nm."""
    over = np.flatnonzero(~(np.abs(torques_nm) <= limits.joint_torques_nm))
    if not len(over):
        return None
    joint = int(over[0])
    return Contact(
        JOINT_TORQUE,
        f"joint {joint + 1} bears {torques_nm[joint]:.1f} Nm (at most {limits.joint_torques_nm[joint]:.1f} Nm): "
        "free the arm, and check its load",
    )
