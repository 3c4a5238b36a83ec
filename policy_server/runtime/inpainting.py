"""A chunk that continues a standing plan: what the denoiser is told of that plan, and how the graph takes it.

The graph has three inputs with a default, under which it answers as if they were not there. The export writes them
(``export/holding.py``), the engine fills them. They serve real-time chunking (Black et al., "Real-Time Execution of Action Chunking Flow
Policies", arXiv 2506.07339): the steps that will have been executed before a new chunk comes are held fixed while it is sampled.
"""

from dataclasses import dataclass
from math import e

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.errors import PolicyError

HELD_INPUT = "held"  # float32 (1, H, A), rad and m
HELD_WEIGHT_INPUT = "held_weight"  # float32 (H,)
FIRST_STEP_INPUT = "first_step"  # int64, a scalar
INPAINTING_INPUTS = (HELD_INPUT, HELD_WEIGHT_INPUT, FIRST_STEP_INPUT)


class InpaintingError(PolicyError):
    """A policy was asked to continue a standing plan, and cannot, or not in this way."""


@dataclass(frozen=True, eq=False)
class Inpainting:
    """What is given of a chunk before it is sampled.

    Attributes:
        held: float32 (H, A), joint targets in rad and m, past rows first; rows of weight 0 count only for a warm start.
        weight: float32 (H,) in [0, 1]: in every denoising step this share of the clean chunk's row is the held one.
        first_step: sampling steps left out; above 0 sampling starts from ``held``, noised as much as that step expects.
    """

    held: NDArray[np.float32]
    weight: NDArray[np.float32]
    first_step: int = 0


def inpainting_shapes(horizon: int, actions: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the graph's inputs for a chunk of (horizon, actions)."""
    return {HELD_INPUT: (1, horizon, actions), HELD_WEIGHT_INPUT: (horizon,), FIRST_STEP_INPUT: ()}


def inpainting_inputs(given: Inpainting) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
    """The values of these inputs."""
    return {
        HELD_INPUT: given.held[None],
        HELD_WEIGHT_INPUT: given.weight,
        FIRST_STEP_INPUT: np.array(given.first_step, np.int64),
    }


def check_inpainting(given: Inpainting, chunk_shape: tuple[int, int], sampling_steps: int) -> None:
    """Refuse what the graph would answer with nonsense.

    Raises:
        InpaintingError: another shape than the chunk's, numbers that are not finite, a weight outside of [0, 1], no step left.
    """
    if given.held.shape != chunk_shape or given.weight.shape != chunk_shape[:1]:
        raise InpaintingError(
            f"held actions {given.held.shape} with weights {given.weight.shape}: the policy's chunk is {chunk_shape}"
        )
    if not np.isfinite(given.held).all():
        raise InpaintingError("held actions hold a number that is not finite: hold only what was planned")
    if not ((given.weight >= 0) & (given.weight <= 1)).all():
        raise InpaintingError(f"weights of held actions are {given.weight.tolist()}: give shares from 0 to 1")
    check_first_step(given.first_step, sampling_steps)


def check_first_step(first_step: int, sampling_steps: int) -> int:
    """``first_step``, where sampling can begin there.

    Raises:
        InpaintingError: no step would be left.
    """
    if not 0 <= first_step < sampling_steps:
        raise InpaintingError(
            f"a warm start that skips {first_step} of {sampling_steps} sampling steps: skip 0 to {sampling_steps - 1}"
        )
    return first_step


def soft_mask(steps: int, delay: int, overlap: int) -> NDArray[np.float32]:
    """How firmly each future step of a new chunk is held at the standing plan's, float32 (steps,); arXiv 2506.07339, eq. 5.

    1 for the ``delay`` steps that will have been executed when the chunk comes, then falling to 0 over the rest of the ``overlap``, the
    steps of which the standing plan says something; 0 after it. A plan that ends before the delay does is held to its end.
    """
    index = np.arange(steps)
    left = np.clip((overlap - index) / max(overlap - delay + 1, 1), 0.0, 1.0)
    falling = left * np.expm1(left) / (e - 1.0)
    return np.where(index < min(delay, overlap), 1.0, np.where(index < overlap, falling, 0.0)).astype(np.float32)
