"""Every random draw of training is a function of the run's seed, the step, the batch within it and what the draw is for.

So a resumed run repeats the loss curve of an unbroken one, and two processes with one batch each do what one process does with
two batches.
"""

from enum import IntEnum

import numpy as np
import torch


class Purpose(IntEnum):
    """What is drawn; each has a stream of its own, so that one setting never shifts the draws of another."""

    WINDOWS = 0
    CONTEXT_LENGTH = 1
    DROPOUT = 2
    NOISE = 3
    AUGMENTATION = 4


def numpy_generator(purpose: Purpose, seed: int, step: int, batch: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, step, batch, purpose])


def torch_generator(purpose: Purpose, seed: int, step: int, batch: int = 0) -> torch.Generator:
    """A generator on the processor, so that the draws are the same on every device."""
    state = np.random.SeedSequence([seed, step, batch, purpose]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
