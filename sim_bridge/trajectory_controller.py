"""Stands in for ``franka_ros2``'s joint_trajectory_controller: follows the newest trajectory and then holds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.errors import PolicyError


class TrajectoryError(PolicyError):
    """A trajectory that the controller refuses; the one that runs goes on."""


class TrajectoryJointsError(TrajectoryError):
    """Joint names that are missing, repeated, or not this controller's."""


class TrajectoryTimesError(TrajectoryError):
    """Times that do not increase, or a trajectory that ends in the past."""


class TrajectoryValueError(TrajectoryError):
    """Positions of the wrong shape, or not finite."""


class TrajectoryController:
    """Interpolates linearly between the points of a trajectory, each joint by itself.

    A new trajectory replaces the running one at once: the motion leads from the position commanded at that moment to
    the first point that still lies ahead. After the last point the position is held. The controller reads no clock.
    """

    def __init__(self, joints: Sequence[str], period_ns: int) -> None:
        """``joints``: names in column order. ``period_ns``: time between two set-points."""
        self.joints = tuple(joints)
        self.period_ns = period_ns
        self._times_ns = np.zeros(0, np.int64)
        self._positions = np.zeros((0, len(self.joints)))

    def reset(self, positions: NDArray[np.float64]) -> None:
        """Forgets the trajectory and holds ``positions``, float64 (joints,)."""
        held = np.asarray(positions, np.float64)
        if held.shape != (len(self.joints),) or not np.isfinite(held).all():
            raise TrajectoryValueError(f"cannot hold {held.tolist()}; give {len(self.joints)} finite positions")
        self._times_ns = np.zeros(1, np.int64)
        self._positions = held[None].copy()

    def accept(
        self,
        stamp_ns: int,
        joints: Sequence[str],
        times_ns: Sequence[int] | NDArray[np.int64],
        positions: NDArray[np.float64],
        now_ns: int,
    ) -> None:
        """Replaces the running trajectory.

        ``times_ns`` (points,) counts from ``stamp_ns`` (``time_from_start``); a stamp of 0 means from now.
        ``positions`` is (points, joints), its columns in the order of ``joints``, which may differ from the
        controller's. Points that lie in the past are dropped. A refused trajectory changes nothing and raises
        ``TrajectoryJointsError``, ``TrajectoryTimesError`` or ``TrajectoryValueError``.
        """
        columns = self._columns(joints)
        points = _finite_points(positions, len(times_ns), joints)[:, columns]
        at_ns = (stamp_ns or now_ns) + _increasing(times_ns)
        ahead = at_ns > now_ns
        if not ahead.any():
            late_ms = (now_ns - int(at_ns[-1])) / 1e6
            raise TrajectoryTimesError(f"the trajectory ended {late_ms:.1f} ms ago; send it sooner or check the clocks")
        commanded = self.sample(np.array([now_ns], np.int64))
        self._times_ns = np.concatenate([[now_ns], at_ns[ahead]])
        self._positions = np.concatenate([commanded, points[ahead]])

    def sample(self, times_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Commanded positions, float64 (n, joints), at ``times_ns``, int64 (n,).

        Raises ``TrajectoryValueError`` before the first ``reset``: there is no position to hold yet.
        """
        if not len(self._times_ns):
            raise TrajectoryValueError("the controller has no position yet; reset it with the measured positions first")
        # Relative to the first knot: int64 nanoseconds since 1970 do not fit a float64.
        knots, at = self._times_ns - self._times_ns[0], times_ns - self._times_ns[0]
        return np.stack([np.interp(at, knots, column) for column in self._positions.T], axis=-1)

    def upcoming(self, now_ns: int, steps: int) -> NDArray[np.float64]:
        """The next ``steps`` set-points after ``now_ns``, one per period, float64 (steps, joints)."""
        return self.sample(now_ns + self.period_ns * np.arange(1, steps + 1, dtype=np.int64))

    def _columns(self, joints: Sequence[str]) -> list[int]:
        unknown = [name for name in joints if name not in self.joints]
        missing = [name for name in self.joints if name not in joints]
        if unknown or missing or len(joints) != len(self.joints):
            raise TrajectoryJointsError(
                f"trajectory for {list(joints)}: missing {missing}, unknown {unknown}; "
                f"name each of {list(self.joints)} once"
            )
        return [list(joints).index(name) for name in self.joints]


def _finite_points(positions: NDArray[np.float64], points: int, joints: Sequence[str]) -> NDArray[np.float64]:
    values = np.asarray(positions, np.float64)
    if points == 0 or values.shape != (points, len(joints)):
        wanted = f"({max(points, 1)}, {len(joints)})"
        raise TrajectoryValueError(
            f"positions of shape {values.shape}; give {wanted}: points, joints, at least one point"
        )
    if not np.isfinite(values).all():
        point, column = np.argwhere(~np.isfinite(values))[0]
        value = values[point, column]
        raise TrajectoryValueError(f"position of {joints[column]} in point {point} is {value}; send finite numbers")
    return values


def _increasing(times_ns: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    times = np.asarray(times_ns, np.int64)
    steps = np.diff(times)
    if times[0] < 0 or (steps <= 0).any():
        point = int(np.argmax(steps <= 0)) + 1 if times[0] >= 0 else 0
        time = f"time_from_start of point {point} is {times[point]} ns"
        raise TrajectoryTimesError(f"{time}; times start at 0 or later and increase")
    return times
