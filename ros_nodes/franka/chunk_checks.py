"""Whether a chunk may be followed at all."""

import numpy as np

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.clock import ns_to_seconds
from policy_server.runtime.errors import PolicyError
from ros_nodes.franka.limits import FloatArray, JointLimits
from ros_nodes.franka.settings import GuardSettings

NOT_LATCHED = "not_latched"
WRONG_JOINTS = "wrong_joints"
WRONG_PERIOD = "wrong_period"
NOT_FINITE = "not_finite"
OUT_OF_LIMITS = "out_of_limits"
TOO_OLD = "too_old"
IN_THE_FUTURE = "in_the_future"
OUT_OF_ORDER = "out_of_order"
NO_STEPS_LEFT = "no_steps_left"
OTHER_BUNDLE = "other_bundle"
STEP_JUMP = "step_jump"
REASONS = (
    NOT_LATCHED,
    WRONG_JOINTS,
    WRONG_PERIOD,
    NOT_FINITE,
    OUT_OF_LIMITS,
    TOO_OLD,
    IN_THE_FUTURE,
    OUT_OF_ORDER,
    NO_STEPS_LEFT,
    OTHER_BUNDLE,
    STEP_JUMP,
)

_ROUNDING = 1e-6  # chunks are float32


class ChunkRefused(PolicyError):
    """The guard does not follow a chunk; ``reason`` is one of ``REASONS``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def check_stamp(chunk: ActionChunk, now_ns: int, settings: GuardSettings) -> None:
    """Raises ChunkRefused when the chunk's timing is no use at ``now_ns``."""
    if chunk.period_ns <= 0:
        raise ChunkRefused(WRONG_PERIOD, f"chunk period {chunk.period_ns} ns must be positive")
    age_ns = now_ns - chunk.stamp_ns
    if age_ns > settings.max_chunk_age_ns:
        raise ChunkRefused(
            TOO_OLD,
            f"chunk answers an observation of {ns_to_seconds(age_ns):.3f} s ago (at most "
            f"{ns_to_seconds(settings.max_chunk_age_ns):.3f} s): the policy is too slow or the clocks differ",
        )
    if age_ns < -settings.future_tolerance_ns:
        raise ChunkRefused(
            IN_THE_FUTURE,
            f"chunk is stamped {ns_to_seconds(-age_ns):.3f} s ahead of now: set the machines' clocks alike",
        )


def ordered_positions(chunk: ActionChunk, limits: JointLimits) -> FloatArray:
    """The chunk's targets in the guard's joint order, float64 (steps, joints).

    Raises:
        ChunkRefused: other joints than the guard's, another shape, or a number that is not finite.
    """
    if sorted(chunk.joints) != sorted(limits.joints):
        raise ChunkRefused(
            WRONG_JOINTS,
            f"chunk moves {', '.join(chunk.joints) or 'no joints'}; the guard expects {', '.join(limits.joints)}, "
            "in any order",
        )
    positions = np.asarray(chunk.positions, np.float64)
    if positions.ndim != 2 or positions.shape[1] != len(limits.joints):
        raise ChunkRefused(
            WRONG_JOINTS, f"chunk positions have shape {positions.shape}, expected (steps, {len(limits.joints)})"
        )
    finite = np.isfinite(positions)
    if not finite.all():
        step, column = np.argwhere(~finite)[0]
        raise ChunkRefused(
            NOT_FINITE, f"chunk step {step} sets {chunk.joints[column]} to {positions[step, column]}: check the policy"
        )
    return positions[:, [chunk.joints.index(joint) for joint in limits.joints]]


def clamped_to_limits(positions: FloatArray, settings: GuardSettings) -> FloatArray:
    """Targets inside of the position limits less the margin, (steps, joints).

    Raises:
        ChunkRefused: a target lies outside of the limits by more than the tolerance.
    """
    limits = settings.limits
    excess = np.maximum(limits.position_min - positions, positions - limits.position_max)
    far = excess > settings.position_tolerance
    if far.any():
        step, column = np.argwhere(far)[0]
        raise ChunkRefused(
            OUT_OF_LIMITS,
            f"chunk step {step} sets {limits.joints[column]} to {positions[step, column]:.4f}, outside of "
            f"[{limits.position_min[column]}, {limits.position_max[column]}] by more than "
            f"{settings.position_tolerance[column]}: check the policy and its joint order",
        )
    margin = settings.position_margin
    return np.clip(positions, limits.position_min + margin, limits.position_max - margin)


def check_jumps(positions: FloatArray, start: FloatArray, settings: GuardSettings) -> None:
    """Raises ChunkRefused when a step lies further from the one before it than the settings allow; the first from ``start``.

    ``positions``: float64 (steps, joints), those still to come; ``start``: float64 (joints,), where the arm is told to be.
    """
    jumps = np.abs(positions - np.concatenate([start[None], positions[:-1]]))
    far = jumps > settings.max_step + _ROUNDING
    if far.any():
        step, column = np.argwhere(far)[0]
        raise ChunkRefused(
            STEP_JUMP,
            f"step {step} of those still to come sets {settings.limits.joints[column]} {jumps[step, column]:.3f} away from "
            f"{'the step before' if step else 'where it is'} (at most {settings.max_step[column]}): check the policy",
        )


def check_bundle(given: str, expected: str) -> None:
    """Raises ChunkRefused when a chunk's bundle is not the one that the guard began with."""
    if given != expected:
        raise ChunkRefused(
            OTHER_BUNDLE,
            f"chunk comes from bundle {given[:12] or '(none)'}, the arm follows {expected[:12] or '(none)'}: run one inference "
            "node; to change the bundle use python -m ros_nodes.operate swap, or arm again",
        )
