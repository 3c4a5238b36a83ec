"""Cross-attention from the action sequence to the observation history."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class KeysValues:
    """What one block reads of the context.

    ``keys`` (B, heads, width / heads, tokens), transposed and scaled for the product with the queries;
    ``values`` (B, heads, tokens, width / heads).
    """

    keys: Tensor
    values: Tensor


class CrossAttention(nn.Module):
    """Pre-norm cross-attention followed by a 4x GELU feed-forward, both residual.

    Keys and values of the history depend on the context alone: ``project`` computes them once per chunk. The diffusion step's
    token changes with every denoising step, so its scores are put beside those of the history, which is never copied: a
    denoising step hardly costs more for a long context.
    """

    def __init__(self, width: int, token_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 1 / math.sqrt(width // heads)
        self.query_norm = nn.LayerNorm(width)
        self.token_norm = nn.LayerNorm(token_width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(token_width, 2 * width)
        self.out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def project(self, tokens: Tensor) -> KeysValues:
        """Tokens (B, N, token_width) → their keys and values for this block."""
        keys, values = self.key_value(self.token_norm(tokens)).chunk(2, dim=-1)
        return KeysValues(
            self._split(keys).transpose(-1, -2).contiguous() * self.scale, self._split(values).contiguous()
        )

    def forward(self, x: Tensor, history: KeysValues, step_token: Tensor) -> Tensor:
        """``x`` (B, H, width); ``step_token`` (B, 1, token_width)."""
        step = self.project(step_token)
        query = self._split(self.query(self.query_norm(x)))
        weights = torch.cat([query @ history.keys, query @ step.keys], dim=-1).softmax(dim=-1)
        attended = weights[..., :-1] @ history.values + weights[..., -1:] * step.values
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.feed_forward(x)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def sinusoidal(position: Tensor, width: int, longest: float = 1000.0) -> Tensor:
    """Sinusoidal encoding of real-valued positions (...,) → (..., width); sines first, then cosines."""
    half = width // 2
    frequencies = torch.exp(-math.log(longest) * torch.arange(half, device=position.device) / (half - 1))
    angles = position[..., None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
