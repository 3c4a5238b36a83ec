"""The moving target that a chunk describes: straight lines between its steps."""

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

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
