"""From one target per policy tick to one set-point per physics step."""

import numpy as np
from numpy.typing import NDArray

from sim_bridge.tasks.task import STEPS_PER_TICK


def ramp(start: NDArray[np.float64], goal: NDArray[np.float64], steps: int = STEPS_PER_TICK) -> NDArray[np.float64]:
    """Set-points, float64 (steps, joints), in a straight line from ``start`` (left out) to ``goal`` (last row)."""
    fraction = np.arange(1, steps + 1) / steps
    return start + fraction[:, None] * (goal - start)
