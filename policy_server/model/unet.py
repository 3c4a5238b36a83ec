"""Conditional 1-D UNet over the action chunk with cross-attention to the history (arXiv 2606.16447, "UNet + cross-attention")."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policy_server.model.attention import CrossAttention, KeysValues, sinusoidal


@dataclass(frozen=True)
class UnetConfig:
    """Channel widths per level, convolution kernel and attention heads."""

    widths: tuple[int, ...] = (64, 128, 256)
    kernel: int = 5
    heads: int = 8


class ConvolutionBlock(nn.Sequential):
    """Conv1d → GroupNorm(8) → SiLU, length kept."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__(
            nn.Conv1d(channels_in, channels_out, kernel, padding=kernel // 2), nn.GroupNorm(8, channels_out), nn.SiLU()
        )


class ConditionalBlock(nn.Module):
    """Convolution → cross-attention → convolution → + residual. Input and output (B, channels, length)."""

    def __init__(self, channels_in: int, channels_out: int, token_width: int, config: UnetConfig) -> None:
        super().__init__()
        self.first = ConvolutionBlock(channels_in, channels_out, config.kernel)
        self.attention = CrossAttention(channels_out, token_width, config.heads)
        self.second = ConvolutionBlock(channels_out, channels_out, config.kernel)
        self.shortcut = nn.Conv1d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, history: KeysValues, step_token: Tensor) -> Tensor:
        h = self.first(x)
        h = self.attention(h.transpose(1, 2), history, step_token).transpose(1, 2)
        return self.second(h) + self.shortcut(x)


class BlockPair(nn.ModuleList):
    """The two conditional blocks of one level."""

    def __init__(self, channels_in: int, channels_out: int, token_width: int, config: UnetConfig) -> None:
        first = ConditionalBlock(channels_in, channels_out, token_width, config)
        super().__init__([first, ConditionalBlock(channels_out, channels_out, token_width, config)])

    def forward(self, x: Tensor, history: Sequence[KeysValues], step_token: Tensor) -> Tensor:
        """``history``: keys and values of the first and of the second block."""
        for block, keys_values in zip(self, history, strict=True):
            x = block(x, keys_values, step_token)
        return x


class CrossAttentionUnet(nn.Module):
    """Predicts the noise of an action chunk from the noisy chunk, the diffusion step and the context.

    Shapes: context (B, T, 1 + F) with age in ticks first; chunk (B, H, A), H a multiple of 2^(levels - 1).
    One token per observation, projected once to the first width, plus a sinusoidal encoding of its age; the diffusion step
    is one extra token without position. No causal mask: every action sees the whole history.
    """

    def __init__(self, row_features: int, action_dim: int, config: UnetConfig) -> None:
        super().__init__()
        widths, token_width = config.widths, config.widths[0]
        self.token_width = token_width
        self.tokens = nn.Linear(row_features, token_width)
        self.step = nn.Sequential(
            nn.Linear(token_width, 4 * token_width), nn.SiLU(), nn.Linear(4 * token_width, token_width)
        )

        def pair(channels_in: int, channels_out: int) -> BlockPair:
            return BlockPair(channels_in, channels_out, token_width, config)

        steps_down = list(zip((action_dim, *widths), widths, strict=False))
        self.down = nn.ModuleList([pair(a, b) for a, b in steps_down])
        self.shrink = nn.ModuleList([nn.Conv1d(w, w, 3, stride=2, padding=1) for w in widths[:-1]])
        self.middle = pair(widths[-1], widths[-1])
        steps_up = [(2 * b, a) for a, b in itertools.pairwise(widths)][::-1]
        self.up = nn.ModuleList([pair(a, b) for a, b in steps_up])
        self.grow = nn.ModuleList([nn.ConvTranspose1d(b, b, 4, stride=2, padding=1) for _, b in steps_up])
        self.out = nn.Sequential(
            ConvolutionBlock(widths[0], widths[0], config.kernel), nn.Conv1d(widths[0], action_dim, 1)
        )

    def project(self, context: Tensor) -> list[KeysValues]:
        """Keys and values of every block, in the order in which ``forward`` meets them: all that depends on the context alone."""
        tokens = self.tokens(context[..., 1:]) + sinusoidal(context[..., 0], self.token_width)
        pairs = (*self.down, self.middle, *self.up)
        return [block.attention.project(tokens) for pair in pairs for block in pair.children()]

    def forward(self, noisy: Tensor, step: Tensor, history: Sequence[KeysValues]) -> Tensor:
        """``noisy`` (B, H, A), ``step`` float (B,) or (1,) of the training schedule, ``history`` from ``project`` → noise (B, H, A)."""
        step_token = self.step(sinusoidal(step, self.token_width))[:, None].expand(noisy.shape[0], -1, -1)
        per_pair = iter([history[i : i + 2] for i in range(0, len(history), 2)])
        x = noisy.transpose(1, 2)
        skips = []
        for level, pair in enumerate(self.down):
            x = pair(x, next(per_pair), step_token)
            skips.append(x)  # the first level's is not read: the published UNet ends its upward path one level earlier
            if level < len(self.shrink):
                x = self.shrink[level](x)
        x = self.middle(x, next(per_pair), step_token)
        for pair, grow in zip(self.up, self.grow, strict=True):
            x = grow(pair(torch.cat([x, skips.pop()], dim=1), next(per_pair), step_token))
        return self.out(x).transpose(1, 2)
