"""The joint limits of one robot, read from the tables in ``config/arm.yaml``."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.configuration import build
from policy_server.runtime.errors import ConfigurationError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class VelocityEnvelope:
    """Velocity limits that shrink towards the position limits; float64 (joints,).

    Towards the upper end a joint may move at most at ``-offset + sqrt(slope * (upper - q))``, towards the lower end at
    ``-offset + sqrt(slope * (q - lower))``, never less than 0. Infinite slopes and ends mean: no such limit.
    """

    offset: FloatArray
    slope: FloatArray
    upper: FloatArray
    lower: FloatArray

    def towards_upper(self, position: FloatArray) -> FloatArray:
        """Largest allowed velocity, (joints,)."""
        return self._speed(self.upper - position)

    def towards_lower(self, position: FloatArray) -> FloatArray:
        """Largest allowed speed in the negative direction, (joints,), positive numbers."""
        return self._speed(position - self.lower)

    def _speed(self, distance: FloatArray) -> FloatArray:
        return np.maximum(np.sqrt(np.maximum(self.slope * distance, 0.0)) - self.offset, 0.0)


@dataclass(frozen=True)
class JointLimits:
    """Limits of the arm joints followed by the finger; arrays float64 (joints,), rad and m, symmetric where one-sided.

    Attributes:
        joints: names in column order.
        position_min: rad, m.
        position_max: rad, m.
        velocity: rad/s, m/s.
        acceleration: rad/s², m/s².
        jerk: rad/s³, m/s³.
        torque: of the arm joints alone, Nm.
        envelope: velocity limits that depend on the position.
    """

    joints: tuple[str, ...]
    position_min: FloatArray
    position_max: FloatArray
    velocity: FloatArray
    acceleration: FloatArray
    jerk: FloatArray
    torque: FloatArray
    envelope: VelocityEnvelope


@dataclass(frozen=True)
class FingerTable:
    """One finger's row of the YAML file, in m and s."""

    joint: str
    position_min: float
    position_max: float
    velocity: float
    acceleration: float
    jerk: float


@dataclass(frozen=True)
class EnvelopeTable:
    """The arm's velocity envelope in the YAML file, one value per arm joint."""

    offset: tuple[float, ...]
    slope: tuple[float, ...]
    upper: tuple[float, ...]
    lower: tuple[float, ...]


@dataclass(frozen=True)
class RobotTable:
    """One robot in the YAML file, one value per arm joint, in rad and s."""

    joints: tuple[str, ...]
    position_min: tuple[float, ...]
    position_max: tuple[float, ...]
    velocity: tuple[float, ...]
    acceleration: tuple[float, ...]
    jerk: tuple[float, ...]
    torque: tuple[float, ...]
    finger: FingerTable
    velocity_envelope: EnvelopeTable | None = None


def joint_limits(values: Mapping[str, Any], source: str) -> JointLimits:
    """The limits in one robot's table.

    Raises:
        ConfigurationError: an unknown key, a list that does not have one value per joint, or limits that exclude each
            other; named with ``source``.
    """
    table = build(RobotTable, values, source)
    _check_lengths(table, len(table.joints), source)
    limits = JointLimits(
        (*table.joints, table.finger.joint),
        np.array([*table.position_min, table.finger.position_min]),
        np.array([*table.position_max, table.finger.position_max]),
        np.array([*table.velocity, table.finger.velocity]),
        np.array([*table.acceleration, table.finger.acceleration]),
        np.array([*table.jerk, table.finger.jerk]),
        np.array(table.torque),
        _envelope(table.velocity_envelope, len(table.joints)),
    )
    _check_values(limits, source)
    return limits


def _envelope(table: EnvelopeTable | None, arm_joints: int) -> VelocityEnvelope:
    unlimited = (np.inf,) * arm_joints
    if table is None:
        table = EnvelopeTable((0.0,) * arm_joints, unlimited, unlimited, tuple(-end for end in unlimited))
    return VelocityEnvelope(
        np.array([*table.offset, 0.0]),
        np.array([*table.slope, np.inf]),
        np.array([*table.upper, np.inf]),
        np.array([*table.lower, -np.inf]),
    )


def _check_lengths(table: RobotTable | EnvelopeTable, joints: int, source: str) -> None:
    for entry in fields(table):
        value = getattr(table, entry.name)
        if isinstance(value, EnvelopeTable):
            _check_lengths(value, joints, f"{source}.{entry.name}")
        if isinstance(value, tuple) and len(value) != joints:
            raise ConfigurationError(f"{source}: '{entry.name}' has {len(value)} values: give one per joint, {joints}")


def _check_values(limits: JointLimits, source: str) -> None:
    for index, joint in enumerate(limits.joints):
        low, high = limits.position_min[index], limits.position_max[index]
        if not low < high:
            raise ConfigurationError(f"{source}: {joint}: position_min {low} must be below position_max {high}")
        for name in ("velocity", "acceleration", "jerk"):
            value = getattr(limits, name)[index]
            if not 0.0 <= value < np.inf:
                raise ConfigurationError(f"{source}: {joint}: {name} {value} must be a number of 0 or more")
    for joint, value in zip(limits.joints, limits.torque, strict=False):
        if not 0.0 <= value < np.inf:
            raise ConfigurationError(f"{source}: {joint}: torque {value} must be a number of 0 or more")
