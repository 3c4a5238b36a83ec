"""The experts' one way to move: a bounded step from the current set-point towards a goal."""

import numpy as np
from numpy.typing import NDArray

from sim_bridge.inverse_kinematics import InverseKinematics

GAIN_PER_TICK = 0.30
MAX_STEP_RAD = 0.085
MAX_FINGER_STEP_M = 0.02
REMEMBERED_GOALS = 64


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


class HandGoals:
    """Joint goals for hand poses, remembered, since an expert asks for the same pose at each tick."""

    def __init__(self) -> None:
        self._kinematics = InverseKinematics()
        self._known: dict[tuple[float, ...], NDArray[np.float64]] = {}

    def goal(self, position_m: NDArray[np.float64], yaw_rad: float, finger_m: float) -> NDArray[np.float64]:
        """Set-point, float64 (8,), with the hand pointing down at ``position_m`` (3,), turned by ``yaw_rad``."""
        key = (*(float(x) for x in position_m), yaw_rad)
        if key not in self._known:
            if len(self._known) >= REMEMBERED_GOALS:
                self._known.clear()
            self._known[key] = self._kinematics.solve(position_m, yaw_rad)
        return np.append(self._known[key], finger_m)
