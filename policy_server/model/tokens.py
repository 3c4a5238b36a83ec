"""What a denoiser reads beside the noisy chunk: a token per observation, and one for the diffusion step."""

import math

import torch
from torch import Tensor, nn


def sinusoidal(position: Tensor, width: int, longest: float = 1000.0) -> Tensor:
    """Sinusoidal encoding of real-valued positions (...,) → (..., width); sines first, then cosines."""
    half = width // 2
    frequencies = torch.exp(-math.log(longest) * torch.arange(half, device=position.device) / (half - 1))
    angles = position[..., None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class HistoryTokens(nn.Module):
    """Rows (B, T, 1 + F), age in ticks first → tokens (B, T, width): one projection for all rows, plus an encoding of the age."""

    def __init__(self, row_features: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(row_features, width)

    def forward(self, rows: Tensor) -> Tensor:
        return self.linear(rows[..., 1:]) + sinusoidal(rows[..., 0], self.width)


class StepToken(nn.Module):
    """Diffusion step, float (B,) → token (B, 1, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))

    def forward(self, step: Tensor) -> Tensor:
        return self.mlp(sinusoidal(step, self.width))[:, None]
