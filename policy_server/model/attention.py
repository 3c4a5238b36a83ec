"""Attention of the action sequence to the observation history, and to itself."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def mask_bias(seen: Tensor) -> Tensor:
    """What is added to the scores: 0 where ``seen`` (bool, any shape) is true, -inf where it is false."""
    return torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, -math.inf)


class CrossAttention(nn.Module):
    """Pre-norm cross-attention followed by a 4x GELU feed-forward, both residual.

    Keys and values of the history depend on the context alone, those of the diffusion step's token on the step alone: ``project``
    computes either once per chunk. The scores of the two are put side by side, and neither is copied: a denoising step hardly
    costs more for a long context. In training, where every context is read at one step alone, the step's token may stand among those of
    the history, which takes fewer operations.
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

    def project(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, token_width) → keys (B, heads, width / heads, N) and values (B, heads, N, width / heads)."""
        keys, values = self.key_value(self.token_norm(tokens)).chunk(2, dim=-1)
        return split_heads(keys, self.heads).transpose(-1, -2).contiguous(), split_heads(
            values, self.heads
        ).contiguous()

    def forward(self, x: Tensor, memory: Sequence[Tensor], step: Sequence[Tensor]) -> Tensor:
        """Queries ``x`` (B, H, width) read the history and the step, which every query sees.

        Args:
            memory: keys and values of the history from ``project``, then, where not all is seen, a bias (B or 1, 1, H or 1, T) for the
                scores.
            step: key and value of the step's token from ``project``, of B steps or of one; nothing where it is among the memory's tokens.
        """
        keys, values, *bias = memory
        query = split_heads(self.query(self.query_norm(x)) * self.scale, self.heads)
        scores = query @ keys + bias[0] if bias else query @ keys
        attended = _attend_beside(query, scores, values, *step) if step else scores.softmax(dim=-1) @ values
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.feed_forward(x)


class CausalSelfAttention(nn.Module):
    """Pre-norm self-attention, residual: (B, H, width) → the same; a position reads itself and those before it."""

    causal: Tensor

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 1 / math.sqrt(width // heads)
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.register_buffer("causal", mask_bias(torch.ones(length, length, dtype=torch.bool).tril()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (split_heads(part, self.heads) for part in self.query_key_value(self.norm(x)).chunk(3, -1))
        weights = (query @ key.transpose(-1, -2) * self.scale + self.causal).softmax(dim=-1)
        return x + self.out((weights @ value).transpose(1, 2).flatten(2))


def _attend_beside(query: Tensor, scores: Tensor, values: Tensor, step_key: Tensor, step_value: Tensor) -> Tensor:
    """What the queries read of the history, by its ``scores``, and of the step, whose key and value no history is copied for."""
    weights = torch.cat([scores, query @ step_key], dim=-1).softmax(dim=-1)
    return weights[..., :-1] @ values + weights[..., -1:] * step_value


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, width) → (B, heads, N, width / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)
