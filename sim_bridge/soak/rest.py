"""When did the arm come to rest? Read from what it measured."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AT_REST_RAD_S = 0.02
MOVING_RAD_S = 0.05


@dataclass(frozen=True)
class Rest:
    """How an arm answered to silence.

    Attributes:
        was_moving: whether it moved when the silence began; else there is nothing to measure.
        after_s: from the last chunk to rest; None when it never came to rest while the silence lasted.
    """

    was_moving: bool
    after_s: float | None


def rest_after(
    times_s: NDArray[np.float64], speeds_rad_s: NDArray[np.float64], silent_from_s: float, silent_to_s: float
) -> Rest:
    """The rest between the last chunk and the first one after it.

    ``speeds_rad_s``: the fastest joint's at ``times_s``; both float64 (n,).
    """
    before = speeds_rad_s[(times_s > silent_from_s - 0.1) & (times_s <= silent_from_s)]
    was_moving = bool(len(before) and before.max() > MOVING_RAD_S)
    rows = (times_s > silent_from_s) & (times_s < silent_to_s)
    times_s, moves = times_s[rows], speeds_rad_s[rows] > AT_REST_RAD_S
    if not len(times_s) or moves[-1]:
        return Rest(was_moving, None)
    if not moves.any():
        return Rest(was_moving, 0.0)
    return Rest(was_moving, float(times_s[np.flatnonzero(moves)[-1] + 1] - silent_from_s))
