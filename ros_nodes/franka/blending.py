"""How a new chunk joins those before it, where they overlap.

``latest``: the newest chunk alone counts. ``temporal_ensemble``: the mean over all chunks that say something about a moment,
with weights exp(-decay * i), i = 0 for the oldest (Zhao et al., ACT, 2023, section IV-B). ``hand_over``: the standing plan
goes on for as long as a new one takes to compute, then passes into it with the falling weights of real-time chunking's soft
mask (Black et al., Real-Time Execution of Action Chunking Flow Policies, 2025), here between two finished plans instead of
inside the sampler.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import e

import numpy as np
from numpy.typing import NDArray

from ros_nodes.franka.joint_path import JointPath
from ros_nodes.franka.limits import FloatArray


class Rule(StrEnum):
    """Which of them."""

    LATEST = "latest"
    TEMPORAL_ENSEMBLE = "temporal_ensemble"
    HAND_OVER = "hand_over"


@dataclass(frozen=True)
class Blending:
    """The rule and its numbers.

    Attributes:
        rule: see the module.
        decay: of the ensemble's weights per chunk; 0 is the plain mean.
        frozen_ns: how long a hand-over keeps to the standing plan.
        blend_ns: how long it then takes.
    """

    rule: Rule
    decay: float
    frozen_ns: int
    blend_ns: int


def blended(blending: Blending, standing: JointPath, chunks: Sequence[JointPath], from_ns: int) -> JointPath:
    """The path to follow after ``from_ns``, when the last of ``chunks`` has just come. Its first knot is the first one still
    to come; at least one is.

    ``standing``: what was followed until now. ``chunks``: those since the arm last rested, oldest first.
    """
    steps = chunks[-1].after(from_ns)
    if len(chunks) == 1 or blending.rule is Rule.LATEST:
        return steps
    if blending.rule is Rule.TEMPORAL_ENSEMBLE:
        return JointPath(steps.times_ns, _ensemble(chunks, np.array(steps.times_ns, np.int64), blending.decay))
    return _hand_over(standing, steps, from_ns, blending)


def _ensemble(chunks: Sequence[JointPath], times_ns: NDArray[np.int64], decay: float) -> FloatArray:
    total, weights = np.zeros((len(times_ns), chunks[-1].positions.shape[1])), np.zeros(len(times_ns))
    for age, chunk in enumerate(chunks):
        says = (times_ns >= chunk.times_ns[0]) & (times_ns <= chunk.end_ns)
        weight = np.where(says, np.exp(-decay * age), 0.0)
        total += weight[:, None] * chunk.at_all(times_ns)
        weights += weight
    return total / weights[:, None]


def _hand_over(standing: JointPath, steps: JointPath, from_ns: int, blending: Blending) -> JointPath:
    frozen_until_ns = from_ns + blending.frozen_ns
    # The standing plan's own knots, so that what is frozen is exactly that plan; none after the new one's end.
    kept = [time_ns for time_ns in standing.times_ns if from_ns < time_ns <= min(frozen_until_ns, steps.end_ns)]
    frozen_end = [frozen_until_ns] if blending.frozen_ns > 0 and frozen_until_ns < steps.end_ns else []
    times_ns = np.array(sorted({*kept, *frozen_end, *steps.times_ns}), np.int64)
    left = 1.0 - (times_ns - frozen_until_ns) / max(blending.blend_ns, 1)
    share = np.clip(left, 0.0, 1.0)
    weight = np.where(times_ns <= frozen_until_ns, 1.0, share * np.expm1(share) / (e - 1.0))
    weight = np.where(times_ns <= standing.end_ns, weight, 0.0)[:, None]
    positions = weight * standing.at_all(times_ns) + (1.0 - weight) * steps.at_all(times_ns)
    return JointPath(times_ns.tolist(), positions)
