"""The guard's settings, read from ``config/arm.yaml``."""

import difflib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from policy_server.runtime.clock import seconds_to_ns
from policy_server.runtime.configuration import build, read_yaml
from policy_server.runtime.errors import ConfigurationError
from ros_nodes.franka.blending import Blending, Rule
from ros_nodes.franka.contact import ContactLimits
from ros_nodes.franka.keep_out import Workspace
from ros_nodes.franka.limits import FloatArray, JointLimits, joint_limits


@dataclass(frozen=True)
class GuardSettings:
    """How the guard turns chunks into set-points. Arrays are float64 (joints,), rad for the arm, m for the finger.

    Zero is a limit like any other: a joint with a velocity of 0 does not move.

    Attributes:
        robot: name of the limits' table.
        limits: what the robot allows.
        set_point_period_ns: distance of the fixed time grid; set-points lie at its multiples.
        watchdog_ns: longest time without an accepted chunk before the guard brings the arm to rest.
        rest_within_ns: longest time that such a stop may take; planned velocities are kept low enough for it.
        max_chunk_age_ns: oldest observation that an accepted chunk may answer.
        future_tolerance_ns: how far a chunk's stamp may lie ahead of now.
        arm_latency_ns: how much later the arm is where it was told to be; targets are given out earlier by this.
        velocity_scale, acceleration_scale, jerk_scale: share of the limits that the guard plans with.
        max_step: furthest that a chunk's step may lie from the one before it, and its first from the arm.
        position_margin: how far inside the position limits the targets are kept.
        position_tolerance: how far outside the position limits a target is clamped rather than refused.
        latch_tolerance: how far outside the position limits a measured position can still be latched.
        blending: how a new chunk joins those before it.
        workspace: where the arm may be.
        contact: what the world may do to the arm.
    """

    robot: str
    limits: JointLimits
    set_point_period_ns: int
    watchdog_ns: int
    rest_within_ns: int
    max_chunk_age_ns: int
    future_tolerance_ns: int
    arm_latency_ns: int
    velocity_scale: float
    acceleration_scale: float
    jerk_scale: float
    max_step: FloatArray
    position_margin: FloatArray
    position_tolerance: FloatArray
    latch_tolerance: FloatArray
    blending: Blending
    workspace: Workspace
    contact: ContactLimits


@dataclass(frozen=True)
class ArmFile:
    """The YAML file without its tables; seconds, rad, m, N, Nm."""

    robot: str
    robots: dict[str, Any]
    workspace: Workspace
    set_point_period_s: float
    watchdog_s: float
    rest_within_s: float
    max_chunk_age_s: float
    future_tolerance_s: float
    arm_latency_s: float
    blending: Literal["latest", "temporal_ensemble", "hand_over"]
    ensemble_decay: float
    hand_over_frozen_s: float
    hand_over_blend_s: float
    velocity_scale: float
    acceleration_scale: float
    jerk_scale: float
    max_step_rad: float
    max_step_m: float
    position_margin_rad: float
    position_margin_m: float
    position_tolerance_rad: float
    position_tolerance_m: float
    latch_tolerance_rad: float
    latch_tolerance_m: float
    max_force_n: float
    max_torque_nm: float
    torque_scale: float


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
        rest_within_ns=seconds_to_ns(file.rest_within_s),
        max_chunk_age_ns=seconds_to_ns(file.max_chunk_age_s),
        future_tolerance_ns=seconds_to_ns(file.future_tolerance_s),
        arm_latency_ns=seconds_to_ns(file.arm_latency_s),
        velocity_scale=file.velocity_scale,
        acceleration_scale=file.acceleration_scale,
        jerk_scale=file.jerk_scale,
        max_step=_per_joint(limits, file.max_step_rad, file.max_step_m),
        position_margin=_per_joint(limits, file.position_margin_rad, file.position_margin_m),
        position_tolerance=_per_joint(limits, file.position_tolerance_rad, file.position_tolerance_m),
        latch_tolerance=_per_joint(limits, file.latch_tolerance_rad, file.latch_tolerance_m),
        blending=Blending(
            Rule(file.blending),
            file.ensemble_decay,
            seconds_to_ns(file.hand_over_frozen_s),
            seconds_to_ns(file.hand_over_blend_s),
        ),
        workspace=file.workspace,
        contact=ContactLimits(file.max_force_n, file.max_torque_nm, file.torque_scale * limits.torque),
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
        if entry.name.endswith("_scale") and not value < 1.0:
            raise ConfigurationError(
                f"{source}: '{entry.name}' is {value}: give a share of the limit, 0 or more and below 1"
            )
    if not 0.001 <= file.set_point_period_s <= 0.01:
        raise ConfigurationError(
            f"{source}: 'set_point_period_s' is {file.set_point_period_s}: give 0.001 (1000 Hz) to 0.01 (100 Hz)"
        )
    _check_workspace(file.workspace, f"{source}: workspace")


def _check_workspace(workspace: Workspace, source: str) -> None:
    for axis, low, high in zip("xyz", workspace.box_min_m, workspace.box_max_m, strict=True):
        if not -np.inf < low < high < np.inf:
            raise ConfigurationError(f"{source}: box_min_m {low} must be below box_max_m {high} along {axis}")
    for name in ("table_height_m", "table_clearance_m", "self_clearance_m"):
        if not np.isfinite(getattr(workspace, name)):
            raise ConfigurationError(f"{source}: '{name}' is {getattr(workspace, name)}: give a number in m")
