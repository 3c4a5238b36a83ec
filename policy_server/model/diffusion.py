"""DDPM training schedule and DDIM sampling (squared-cosine, eta = 0), predicting the noise or the clean chunk."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from policy_server.runtime.errors import ConfigurationError

Prediction = Literal["noise", "clean"]

LIMIT = 1.0  # scaled actions lie in [-1, 1]; the predicted clean chunk is clipped there

# A predicted noise becomes a clean chunk by a division by sqrt(alpha). Sampling begins where that does not blow rounding errors up
# to the size of the chunk, which at the very noisiest steps it does; there the chunk is still a thousandth of the variance.
_LEAST_ALPHA_FOR_NOISE = 5e-4


def squared_cosine_alphas(steps: int, largest_beta: float = 0.999) -> Tensor:
    """Cumulative alphas of the squared-cosine schedule (Nichol & Dhariwal 2021, eq. 17), float64 (steps,)."""

    def level(fraction: float) -> float:
        return math.cos((fraction + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - level((i + 1) / steps) / level(i / steps), largest_beta) for i in range(steps)]
    return torch.cumprod(1 - torch.tensor(betas, dtype=torch.float64), dim=0)


class Diffusion(nn.Module):
    """The schedule's tables: noising for training and the DDIM update for sampling, in any number of steps.

    Raises:
        ConfigurationError: no steps, or more to sample than to train.
    """

    alphas: Tensor
    sampling_steps: Tensor
    sampling_alphas: Tensor
    sampling_previous: Tensor

    def __init__(self, training_steps: int = 100, sampling_steps: int = 10, prediction: Prediction = "noise") -> None:
        super().__init__()
        if not 1 <= sampling_steps <= training_steps:
            raise ConfigurationError(
                f"{sampling_steps} sampling steps of {training_steps} training steps: give 1 to {training_steps}"
            )
        self.prediction = prediction
        alphas = squared_cosine_alphas(training_steps)
        # Trailing spacing: sampling begins at the noisiest step, e.g. 99, 89, ..., 9, and so does a single step.
        usable = training_steps if prediction == "clean" else max(1, int((alphas >= _LEAST_ALPHA_FOR_NOISE).sum()))
        steps = torch.arange(sampling_steps, 0, -1, dtype=torch.float64) * usable / sampling_steps
        indices = (steps.round().long() - 1).clamp(min=0)
        at = alphas[indices]
        previous = torch.cat([at[1:], torch.ones(1, dtype=torch.float64)])
        self.training_steps = training_steps
        self.register_buffer("alphas", alphas.float(), persistent=False)
        self.register_buffer("sampling_steps", indices.float(), persistent=False)
        self.register_buffer("sampling_alphas", at.float(), persistent=False)
        self.register_buffer("sampling_previous", previous.float(), persistent=False)

    def add_noise(self, clean: Tensor, noise: Tensor, step: Tensor) -> Tensor:
        """Forward process: clean and noise (B, H, A), integer step (B,)."""
        alpha = self.alphas[step][:, None, None]
        return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """What the network learns to predict."""
        return noise if self.prediction == "noise" else clean

    def update(
        self,
        noisy: Tensor,
        predicted: Tensor,
        index: Tensor,
        kept: Tensor | None = None,
        free: Tensor | None = None,
    ) -> Tensor:
        """One DDIM step (Song et al. 2021, eq. 12 with eta = 0); ``index`` (1,) counts sampling steps from 0.

        Args:
            kept, free: from ``hold``, together or not at all: what of the clean chunk is given, and the share of it that is not.
        """
        alpha, previous = self.sampling_alphas[index], self.sampling_previous[index]
        if self.prediction == "noise":
            predicted = (noisy - (1 - alpha).sqrt() * predicted) / alpha.sqrt()
        clean = predicted.clamp(-LIMIT, LIMIT)
        if kept is not None and free is not None:
            clean = kept + free * clean
        # The noise that belongs to the clipped chunk, so that clipping does not push the path off the schedule.
        noise = (noisy - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        return previous.sqrt() * clean + (1 - previous).sqrt() * noise

    def start(self, noise: Tensor, held: Tensor, first_step: int) -> Tensor:
        """Where sampling begins at ``first_step``: the noise itself at 0, later ``held`` (1, H, A), noised as much as that step expects
        (a warm start; SDEdit, Meng et al. 2022, section 3)."""
        if first_step == 0:
            return noise
        alpha = self.sampling_alphas[first_step]
        return alpha.sqrt() * held + (1 - alpha).sqrt() * noise

    def sample(
        self,
        predict: Callable[[Tensor, Tensor], Tensor],
        noise: Tensor,
        held: Tensor | None = None,
        held_weight: Tensor | None = None,
        first_step: int = 0,
    ) -> Tensor:
        """Walk from noise (B, H, A) to a clean chunk; ``predict(noisy, step)`` takes the training step as float (1,).

        Args:
            held: a chunk (1, H, A), scaled as the noise is, of which some rows are to be kept, or from which to start warm.
            held_weight: (H,) in [0, 1], how much of each row is kept in every step; none where absent.
            first_step: sampling steps that are left out, less than there are.

        Raises:
            ValueError: a weight or a warm start without ``held``, or no step left.
        """
        steps = len(self.sampling_steps)
        if not 0 <= first_step < steps:
            raise ValueError(f"first_step is {first_step}: give 0 to {steps - 1}")
        if held is None and (held_weight is not None or first_step):
            raise ValueError("held_weight and first_step need the chunk that they speak of: give held")
        kept, free = hold(held, held_weight) if held is not None and held_weight is not None else (None, None)
        x = noise if held is None else self.start(noise, held, first_step)
        for i in range(first_step, steps):
            index = torch.tensor([i], device=noise.device)
            x = self.update(x, predict(x, self.sampling_steps[index]), index, kept, free)
        return x


def hold(held: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The part of a clean chunk that ``held`` (1, H, A) gives with ``weight`` (H,), and the share of each row that stays free (H, 1)."""
    share = weight[:, None]
    return share * held, 1 - share
