"""The guard's settings, read from ``config/arm.yaml``."""

import difflib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from policy_server.runtime.clock import seconds_to_ns
from policy_server.runtime.configuration import build, read_yaml
from policy_server.runtime.errors import ConfigurationError
from ros_nodes.franka.limits import FloatArray, JointLimits, joint_limits


@dataclass(frozen=True)
class GuardSettings:
    """How the guard turns chunks into set-points. Arrays are float64 (joints,), rad for the arm, m for the finger.

    Attributes:
        robot: name of the limits' table.
        limits: what the robot allows.
        set_point_period_ns: distance of the fixed time grid; set-points lie at its multiples.
        watchdog_ns: longest time without an accepted chunk before the guard brings the arm to rest.
        max_chunk_age_ns: oldest observation that an accepted chunk may answer.
        future_tolerance_ns: how far a chunk's stamp may lie ahead of now.
        velocity_scale, acceleration_scale, jerk_scale: share of the limits that the guard plans with.
        position_margin: how far inside the position limits the targets are kept.
        position_tolerance: how far outside the position limits a target is clamped rather than refused.
        latch_tolerance: how far outside the position limits a measured position can still be latched.
    """

    robot: str
    limits: JointLimits
    set_point_period_ns: int
    watchdog_ns: int
    max_chunk_age_ns: int
    future_tolerance_ns: int
    velocity_scale: float
    acceleration_scale: float
    jerk_scale: float
    position_margin: FloatArray
    position_tolerance: FloatArray
    latch_tolerance: FloatArray


@dataclass(frozen=True)
class ArmFile:
    """The YAML file without its tables; seconds, rad, m."""

    robot: str
    robots: dict[str, Any]
    set_point_period_s: float
    watchdog_s: float
    max_chunk_age_s: float
    future_tolerance_s: float
    velocity_scale: float
    acceleration_scale: float
    jerk_scale: float
    position_margin_rad: float
    position_margin_m: float
    position_tolerance_rad: float
    position_tolerance_m: float
    latch_tolerance_rad: float
    latch_tolerance_m: float


def load_guard_settings(path: Path | str, robot: str | None = None) -> GuardSettings:
    """The settings in a YAML file; ``robot`` chooses another table than the file's.

    Raises:
        ConfigurationError: no such file, an unknown key or robot, or a value that does not fit.
    """
    file = build(ArmFile, read_yaml(path), str(path))
    _check(file, str(path))
    robot = robot or file.robot
    if robot not in file.robots:
        near = difflib.get_close_matches(robot, file.robots, n=1)
        mend = f"did you mean '{near[0]}'?" if near else f"known robots: {', '.join(file.robots)}"
        raise ConfigurationError(f"{path}: unknown robot '{robot}'; {mend}")
    limits = joint_limits(file.robots[robot], f"{path}: robots.{robot}")
    return GuardSettings(
        robot,
        limits,
        set_point_period_ns=seconds_to_ns(file.set_point_period_s),
        watchdog_ns=seconds_to_ns(file.watchdog_s),
        max_chunk_age_ns=seconds_to_ns(file.max_chunk_age_s),
        future_tolerance_ns=seconds_to_ns(file.future_tolerance_s),
        velocity_scale=file.velocity_scale,
        acceleration_scale=file.acceleration_scale,
        jerk_scale=file.jerk_scale,
        position_margin=_per_joint(limits, file.position_margin_rad, file.position_margin_m),
        position_tolerance=_per_joint(limits, file.position_tolerance_rad, file.position_tolerance_m),
        latch_tolerance=_per_joint(limits, file.latch_tolerance_rad, file.latch_tolerance_m),
    )


def _per_joint(limits: JointLimits, arm_rad: float, finger_m: float) -> FloatArray:
    return np.array([arm_rad] * (len(limits.joints) - 1) + [finger_m])


def _check(file: ArmFile, source: str) -> None:
    for entry in fields(file):
        value = getattr(file, entry.name)
        if not isinstance(value, float):
            continue
        if not 0.0 <= value < float("inf"):
            raise ConfigurationError(f"{source}: '{entry.name}' is {value}: give a number of 0 or more")
        if entry.name.endswith("_scale") and not 0.0 < value < 1.0:
            raise ConfigurationError(f"{source}: '{entry.name}' is {value}: it must lie between 0 and 1, both excluded")
    if file.set_point_period_s < 0.001:
        raise ConfigurationError(f"{source}: 'set_point_period_s' is {file.set_point_period_s}: give at least 0.001")
