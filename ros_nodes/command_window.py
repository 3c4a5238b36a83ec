"""Set-points that were computed but are not yet due, so that what a controller is given is always whole."""

import numpy as np

from ros_nodes.franka.set_points import SetPoints


class CommandWindow:
    """Joins the guard's set-points into what a controller should follow from now on.

    What it is given replaces what it had before. So that repeats the set-points that are still to come, adds the new ones and
    ends with the braking tail: with nothing after it the arm comes to rest.
    """

    def __init__(self, joints: int) -> None:
        self._nothing = SetPoints.of([], [], joints, "")
        self._points = self._nothing

    def __len__(self) -> int:
        """How many set-points there are."""
        return len(self._points)

    def clear(self) -> None:
        """Forget all set-points."""
        self._points = self._nothing

    def extend(self, points: SetPoints) -> None:
        """Add set-points that follow those already here."""
        self._points = SetPoints.joined([self._points, points])

    def drop_until(self, now_ns: int) -> None:
        """Forget the set-points that are due at or before ``now_ns``."""
        self._points = self._points.rows(slice(int(np.searchsorted(self._points.times_ns, now_ns, side="right")), None))

    def with_tail(self, tail: SetPoints) -> SetPoints:
        """What is left and the tail after it."""
        return SetPoints.joined([self._points, tail])
