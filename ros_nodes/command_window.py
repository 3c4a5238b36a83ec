"""Set-points that were computed but are not yet due, so that each published trajectory is whole."""

import numpy as np
from numpy.typing import NDArray

from ros_nodes.franka.set_points import SetPoints


class CommandWindow:
    """Joins the guard's set-points into the trajectory a controller should follow from now on.

    A new trajectory replaces the one before it. So it repeats the set-points that are still to come, adds the new ones and
    ends with the braking tail: with nothing after it the arm comes to rest.
    """

    def __init__(self, joints: int) -> None:
        self._times_ns: NDArray[np.int64] = np.empty(0, np.int64)
        self._positions = np.empty((0, joints))
        self._velocities = np.empty((0, joints))

    def clear(self) -> None:
        """Forget all set-points."""
        self._keep(slice(0, 0))

    def extend(self, points: SetPoints) -> None:
        """Add set-points that follow those already here."""
        self._times_ns = np.concatenate([self._times_ns, points.times_ns])
        self._positions = np.concatenate([self._positions, points.positions])
        self._velocities = np.concatenate([self._velocities, points.velocities])

    def drop_until(self, now_ns: int) -> None:
        """Forget the set-points that are due at or before ``now_ns``."""
        self._keep(slice(int(np.searchsorted(self._times_ns, now_ns, side="right")), None))

    def with_tail(self, tail: SetPoints) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Times int64 (n,), positions and velocities float64 (n, joints) of what is left and the tail after it."""
        return (
            np.concatenate([self._times_ns, tail.times_ns]),
            np.concatenate([self._positions, tail.positions]),
            np.concatenate([self._velocities, tail.velocities]),
        )

    def _keep(self, rows: slice) -> None:
        self._times_ns, self._positions, self._velocities = (
            self._times_ns[rows],
            self._positions[rows],
            self._velocities[rows],
        )
