"""What the guard hands to a controller."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ros_nodes.franka.limits import FloatArray


@dataclass(frozen=True)
class JointMotion:
    """Where the joints are at one instant: float64 (joints,) each, rad and m, per s, per s²."""

    position: FloatArray
    velocity: FloatArray
    acceleration: FloatArray

    @staticmethod
    def at_rest(position: FloatArray) -> "JointMotion":
        return JointMotion(position, np.zeros_like(position), np.zeros_like(position))

    def is_at_rest(self) -> bool:
        return not (self.velocity.any() or self.acceleration.any())


@dataclass(frozen=True)
class SetPoints:
    """Dense set-points on the guard's time grid.

    Attributes:
        times_ns: absolute times, int64 (n,), rising; one set-point period apart, in a braking tail about 10 ms.
        positions: float64 (n, joints), rad and m.
        velocities: float64 (n, joints), rad/s and m/s.
        accelerations: float64 (n, joints), rad/s² and m/s².
        state: the guard's state after the last of them.
    """

    times_ns: NDArray[np.int64]
    positions: FloatArray
    velocities: FloatArray
    accelerations: FloatArray
    state: str

    def __len__(self) -> int:
        return len(self.times_ns)

    def rows(self, rows: slice) -> "SetPoints":
        """Some of them."""
        return SetPoints(
            self.times_ns[rows], self.positions[rows], self.velocities[rows], self.accelerations[rows], self.state
        )

    @staticmethod
    def joined(parts: "Sequence[SetPoints]") -> "SetPoints":
        """Set-points that follow each other, at least one part, as one; the state is the last one's."""
        return SetPoints(
            np.concatenate([part.times_ns for part in parts]),
            np.concatenate([part.positions for part in parts]),
            np.concatenate([part.velocities for part in parts]),
            np.concatenate([part.accelerations for part in parts]),
            parts[-1].state,
        )

    @staticmethod
    def of(times_ns: list[int], motions: list[JointMotion], joints: int, state: str) -> "SetPoints":
        """Stack motions, which may be none."""

        def stacked(rows: list[FloatArray]) -> FloatArray:
            return np.array(rows, np.float64).reshape(-1, joints)

        return SetPoints(
            np.array(times_ns, np.int64),
            stacked([motion.position for motion in motions]),
            stacked([motion.velocity for motion in motions]),
            stacked([motion.acceleration for motion in motions]),
            state,
        )
