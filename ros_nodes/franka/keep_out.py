"""Where the arm may be at all: inside a box, above the table, clear of itself.

A set-point is allowed when the arm, braking from there, stays where it may be until it rests. Most set-points are decided
by bounds: no point of the arm moves further than the joints' travel times its reach, so a margin that was measured once
holds for a while, and two margins that together exceed the way between them hold all along it. Only what the bounds leave
open is measured anew.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ros_nodes.franka.arm_shape import (
    BASE_PAIRS,
    REACH_FROM_BASE_M,
    REACH_FROM_UPPER_ARM_M,
    REACH_M,
    REACH_UP_M,
    UPPER_ARM_PAIRS,
    Sphere,
    capsules,
    clearance_m,
    lowest_m,
    spheres,
)
from ros_nodes.franka.kinematics import Vector, arm_pose
from ros_nodes.franka.limits import FloatArray

BOX = "outside_workspace"
TABLE = "below_table"
SELF_COLLISION = "self_collision"
KEEP_OUT_REASONS = (BOX, TABLE, SELF_COLLISION)
KEEP_OUT_TEXTS = {BOX: "out of its workspace", TABLE: "below the table", SELF_COLLISION: "into itself"}

STOP_SAMPLES = 2
_ROUNDING_M = 1e-9
# A stop is a curve: between the poses it is sampled at a margin may be smaller, by less than this share of the joints' way
# times their reach (at most 1.6 % of it in random stops).
_SAG = 0.02
_BOX, _TABLE, _BASE, _UPPER_ARM = range(4)
_REASONS = (BOX, TABLE, SELF_COLLISION, SELF_COLLISION)
_REACHES_M = np.array([REACH_M, REACH_UP_M, REACH_FROM_BASE_M, REACH_FROM_UPPER_ARM_M])
# A joint that brakes while it already slows down may swing back by up to 5e-4 rad, which its end points do not show.
_OVERSHOOT_M = 5e-4 * _REACHES_M.sum(axis=1)
_PAIRS = {_BASE: BASE_PAIRS, _UPPER_ARM: UPPER_ARM_PAIRS}


@dataclass(frozen=True)
class Workspace:
    """Where the arm may be, in its base frame, m.

    Attributes:
        box_min_m, box_max_m: corners of the box that the tool centre point stays in.
        table_height_m: height of the table's plane.
        table_clearance_m: how far above that plane every moving part stays.
        self_clearance_m: how far two parts of the arm stay from each other.
    """

    box_min_m: Vector
    box_max_m: Vector
    table_height_m: float
    table_clearance_m: float
    self_clearance_m: float


class KeepOut:
    """Judges set-points of seven joints and a finger; what it remembers only saves work, and changes no answer."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        # Where each margin was measured last and how large it was then, for each of the poses that a stop is sampled at.
        self._measured_at = np.zeros((STOP_SAMPLES + 1, *_REACHES_M.shape))
        self._measured_m = np.full((STOP_SAMPLES + 1, len(_REACHES_M)), -np.inf)

    def margins_m(self, position: FloatArray) -> dict[str, float]:
        """How far the arm is inside of what is allowed at joint positions float64 (8,), rad and m; negative when outside."""
        arm, found = _ArmAt(position), dict.fromkeys(KEEP_OUT_REASONS, np.inf)
        for check, reason in enumerate(_REASONS):
            found[reason] = min(found[reason], self._margin_m(check, arm))
        return found

    def refusal(
        self, now: FloatArray, step: FloatArray, travel: FloatArray, stop: Callable[[], list[FloatArray]]
    ) -> str:
        """Why the arm may not go from ``now`` to ``step``, one of ``KEEP_OUT_REASONS``; "" when it may.

        ``travel`` bounds how far each joint moves in a stop from there, ``stop`` gives ``STOP_SAMPLES`` positions of that stop,
        the last one at rest. An arm that is outside already may do what does not lead further out.
        """
        left_m = self._measured_m[0] - ((np.abs(self._measured_at[0] - step) + travel) * _REACHES_M).sum(axis=1)
        if left_m.min() >= 0.0:
            return ""
        poses = np.array([step, *stop()])
        ways_m = np.abs(poses[1:] - poses[:-1]) @ _REACHES_M.T
        gaps_m = ways_m + _OVERSHOOT_M
        doubtful = self._doubtful(poses, gaps_m)
        if not doubtful:
            return ""
        arms = [_ArmAt(pose) for pose in poses]
        for check in doubtful:
            self._measured_at[:, check] = poses
            self._measured_m[:, check] = [self._margin_m(check, arm) for arm in arms]
        for check in sorted(set(doubtful).intersection(self._doubtful(poses, gaps_m))):
            now_m, nearest_m = self._margin_m(check, _ArmAt(now)), float(self._measured_m[:, check].min())
            sag_m = _SAG * float(ways_m[:, check].sum())
            comes_nearer = nearest_m < now_m - _ROUNDING_M
            if nearest_m < min(0.0, now_m) - _ROUNDING_M or (comes_nearer and nearest_m < sag_m):
                return _REASONS[check]
        return ""

    def _doubtful(self, poses: FloatArray, gaps_m: FloatArray) -> list[int]:
        """Checks for which what is left of the margins at a stop's poses does not show that all of the stop is clear."""
        moved = np.abs(self._measured_at - poses[:, None])
        left_m = self._measured_m - (moved * _REACHES_M).sum(axis=2)
        over_m = left_m[:-1] + left_m[1:] - gaps_m
        if left_m.min() >= 0.0 and over_m.min() >= 0.0:
            return []
        return np.flatnonzero((left_m.min(axis=0) < 0.0) | (over_m.min(axis=0) < 0.0)).tolist()

    def _margin_m(self, check: int, arm: "_ArmAt") -> float:
        space = self._workspace
        if check == _BOX:
            inside = zip(space.box_min_m, arm.pose.tcp, space.box_max_m, strict=True)
            return min(min(value - low, high - value) for low, value, high in inside)
        if check == _TABLE:
            return lowest_m(arm.shape) - space.table_height_m - space.table_clearance_m
        return clearance_m(arm.shape, arm.around, _PAIRS[check]) - space.self_clearance_m


class _ArmAt:
    """The arm at joint positions float64 (8,); what only self-collision asks for is made when it asks."""

    def __init__(self, position: FloatArray) -> None:
        joints = position.tolist()
        self.pose = arm_pose(joints)
        self.shape = capsules(self.pose, joints[7])

    @cached_property
    def around(self) -> list[Sphere]:
        return spheres(self.shape)
