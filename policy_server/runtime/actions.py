"""The action chunk: what a policy answers and what the guard executes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ActionChunk:
    """Absolute joint targets for the ticks that follow one observation.

    ``positions[k]`` is the target for ``stamp_ns + (k + 1) * period_ns``: the action taken at a tick is the joint
    position to be reached at the next tick.

    Attributes:
        stamp_ns: stamp of the observation that the chunk answers.
        period_ns: time between two steps (one policy tick).
        joints: names in column order, e.g. ``fr3_joint1`` ... ``fr3_joint7``, ``fr3_finger_joint1``.
        positions: float32 (steps, joints), rad for the arm, m for the finger.
    """

    stamp_ns: int
    period_ns: int
    joints: tuple[str, ...]
    positions: NDArray[np.float32]

    def times_ns(self) -> NDArray[np.int64]:
        """Absolute time at which each step is to be reached, int64 (steps,)."""
        return self.stamp_ns + self.period_ns * np.arange(1, len(self.positions) + 1, dtype=np.int64)

    def remaining(self, stamp_ns: int) -> "ActionChunk":
        """The steps that lie after ``stamp_ns``, as the answer to a later observation (whole ticks later)."""
        past_steps = round((stamp_ns - self.stamp_ns) / self.period_ns)
        start_ns = self.stamp_ns + past_steps * self.period_ns
        return ActionChunk(start_ns, self.period_ns, self.joints, self.positions[past_steps:])
