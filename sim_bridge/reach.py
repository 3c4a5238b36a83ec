"""The experts' one way to move: a bounded step from the current set-point towards a goal."""

import math

import numpy as np
from numpy.typing import NDArray

from sim_bridge.inverse_kinematics import InverseKinematics

GAIN_PER_TICK = 0.30
MAX_STEP_RAD = 0.085
MAX_FINGER_STEP_M = 0.02
REMEMBERED_GOALS = 64

REACH_RADIUS_M = (0.30, 0.72)
REACH_ANGLE_RAD = 0.9
REACH_HEIGHT_M = (0.01, 0.35)


def step_towards(
    set_point: NDArray[np.float64],
    goal: NDArray[np.float64],
    gain: float = GAIN_PER_TICK,
    max_step_rad: float = MAX_STEP_RAD,
) -> NDArray[np.float64]:
    """The next set-point, float64 (8,), on the straight line in joint space; slows down near the goal.

    ``max_step_rad`` bounds the fastest arm joint per tick; the others keep their share, so the path stays straight.
    """
    arm = gain * (goal[:7] - set_point[:7])
    arm *= min(1.0, max_step_rad / max(float(np.abs(arm).max()), 1e-12))
    finger = np.clip(goal[7] - set_point[7], -MAX_FINGER_STEP_M, MAX_FINGER_STEP_M)
    return set_point + np.append(arm, finger)


def above(place_m: NDArray[np.float64], height_m: float) -> NDArray[np.float64]:
    """The point ``height_m`` above a place, float64 (3,), m."""
    return place_m + np.array([0.0, 0.0, height_m])


def nearest_reachable(position_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest place, (3,), at which the hand can point down: part of a ring around the base, m."""
    x, y, z = position_m
    radius_m, angle_rad = np.hypot(x, y), np.arctan2(y, x)
    near_m = np.clip(radius_m, *REACH_RADIUS_M)
    near_rad = np.clip(angle_rad, -REACH_ANGLE_RAD, REACH_ANGLE_RAD)
    if near_m != radius_m or near_rad != angle_rad:
        x, y = near_m * np.cos(near_rad), near_m * np.sin(near_rad)
    return np.array([x, y, np.clip(z, *REACH_HEIGHT_M)])


def is_reachable(position_m: NDArray[np.float64]) -> bool:
    """Whether a place, (3,), on or over the table is within the experts' reach."""
    x, y = float(position_m[0]), float(position_m[1])
    near_m, far_m = REACH_RADIUS_M
    return near_m <= math.hypot(x, y) <= far_m and abs(math.atan2(y, x)) <= REACH_ANGLE_RAD


class HandGoals:
    """Joint goals for hand poses, remembered, since an expert asks for the same pose at each tick."""

    def __init__(self, table_m: float = 0.0) -> None:
        """``table_m``: height of the table's frame, in which poses are given, above the arm's base."""
        self._above_base_m = np.array([0.0, 0.0, table_m])
        self._kinematics = InverseKinematics()
        self._known: dict[tuple[float, ...], NDArray[np.float64]] = {}

    def goal(self, position_m: NDArray[np.float64], yaw_rad: float, finger_m: float) -> NDArray[np.float64]:
        """Set-point, float64 (8,), with the hand pointing down at ``position_m`` (3,), turned by ``yaw_rad``.

        A position out of reach is replaced by the nearest one within, so that a flung object cannot stop an expert.
        """
        position_m = nearest_reachable(position_m)
        key = (*(float(x) for x in position_m), yaw_rad)
        if key not in self._known:
            if len(self._known) >= REMEMBERED_GOALS:
                self._known.clear()
            self._known[key] = self._kinematics.solve(position_m + self._above_base_m, yaw_rad)
        return np.append(self._known[key], finger_m)
