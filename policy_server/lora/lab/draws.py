"""Random draws that depend on what is drawn and on nothing else: a resumed run sees the samples of an unbroken one.

Every draw is keyed by the seed, its purpose and a few numbers (the block of steps, the dimension). Instances come first in the drawn
order, so instance i sees the same whatever number of instances follows it, and cells that differ in d, ξ, η, the activation or the
student are compared on the same teachers and the same samples.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from policy_server.lora.lab.activations import Array

Precision = Literal["float32", "float64"]


class Purpose(IntEnum):
    """What a stream of random numbers is for."""

    TEACHER = 0
    START = 1
    SAMPLES = 2
    RADIUS = 3
    COORDINATES = 4
    RECOVERY = 5
    WEIGHTS = 6
    BOOTSTRAP = 7


def generator(seed: int, purpose: Purpose, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence((seed, int(purpose), *key))))


@dataclass(frozen=True)
class Samples:
    """Gaussian inputs x of one block of N steps for I instances, as far as the dynamics sees them.

    ``hidden`` (N, I, k): coordinates in an orthonormal basis of span(W). ``along`` (N, I): ⟨u, x⟩. ``aside`` (N, I): the coordinate
    along the part of û that is orthogonal to u.
    """

    hidden: Array
    along: NDArray[np.float64]
    aside: NDArray[np.float64]


def draw_samples(seed: int, block: int, steps: int, instances: int, neurons: int, dtype: Precision) -> Samples:
    source = generator(seed, Purpose.SAMPLES, block, neurons)
    drawn = source.standard_normal((instances, steps, neurons + 2), dtype=dtype).swapaxes(0, 1)
    wide = drawn[..., neurons:].astype(np.float64)
    return Samples(np.ascontiguousarray(drawn[..., :neurons]), wide[..., 0].copy(), wide[..., 1].copy())


def draw_squared_radius(
    seed: int, block: int, steps: int, instances: int, dimension: int, degrees: int
) -> NDArray[np.float64]:
    """Squared length (N, I) of the rest of x: χ² with ``degrees`` degrees of freedom."""
    source = generator(seed, Purpose.RADIUS, block, dimension, degrees)
    return np.ascontiguousarray(2 * source.standard_gamma(degrees / 2, (instances, steps)).T)
