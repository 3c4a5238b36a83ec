"""The moving target that a chunk describes: straight lines between its steps."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.clock import NS_PER_S
from ros_nodes.franka.limits import FloatArray


@dataclass(frozen=True)
class JointPath:
    """Knots in time; before the first and after the last one the path rests there.

    Attributes:
        times_ns: ascending, at least one.
        positions: float64 (knots, joints), rad and m.
    """

    times_ns: list[int]
    positions: FloatArray

    @property
    def end_ns(self) -> int:
        return self.times_ns[-1]

    def at(self, time_ns: int) -> tuple[FloatArray, FloatArray]:
        """Position and velocity, float64 (joints,) each; at a knot the velocity of the line that ends there."""
        right = bisect_left(self.times_ns, time_ns)
        if right == 0 or right == len(self.times_ns):
            end = self.positions[min(right, len(self.times_ns) - 1)]
            return end, np.zeros_like(end)
        start_ns, end_ns = self.times_ns[right - 1], self.times_ns[right]
        start, end = self.positions[right - 1], self.positions[right]
        share = (time_ns - start_ns) / (end_ns - start_ns)
        return start + share * (end - start), (end - start) * (NS_PER_S / (end_ns - start_ns))

    def at_all(self, times_ns: NDArray[np.int64]) -> FloatArray:
        """Positions at several times at once, float64 (times, joints)."""
        knots_ns = np.array(self.times_ns, np.int64)
        if len(knots_ns) == 1:
            return np.repeat(self.positions, len(times_ns), axis=0)
        right = np.clip(np.searchsorted(knots_ns, times_ns), 1, len(knots_ns) - 1)
        span_ns = knots_ns[right] - knots_ns[right - 1]
        share = np.clip((times_ns - knots_ns[right - 1]) / span_ns, 0.0, 1.0)[:, None]
        # Exact at both knots.
        return (1.0 - share) * self.positions[right - 1] + share * self.positions[right]

    def after(self, time_ns: int) -> "JointPath":
        """The knots later than ``time_ns``; there must be one."""
        first = bisect_right(self.times_ns, time_ns)
        return JointPath(self.times_ns[first:], self.positions[first:])
