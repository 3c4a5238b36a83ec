"""Conditional 1-D UNet over the action chunk (arXiv 2606.16447); what conditions its blocks is given to it."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from policy_server.runtime.errors import ConfigurationError

GROUPS = 8

Condition = TypeVar("Condition", bound=nn.Module)


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
            nn.Conv1d(channels_in, channels_out, kernel, padding=kernel // 2),
            nn.GroupNorm(GROUPS, channels_out),
            nn.SiLU(),
        )


class ConditionalBlock(nn.Module, Generic[Condition]):
    """Convolution → condition → convolution → + residual. Input and output (B, channels, length)."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, condition: Condition) -> None:
        super().__init__()
        self.first = ConvolutionBlock(channels_in, channels_out, kernel)
        self.condition = condition
        self.second = ConvolutionBlock(channels_out, channels_out, kernel)
        self.shortcut = nn.Conv1d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, memory: Sequence[Tensor], step: Sequence[Tensor]) -> Tensor:
        return self.second(self.condition(self.first(x), memory, step)) + self.shortcut(x)


class BlockPair(nn.ModuleList):
    """The two conditional blocks of one level."""

    def forward(self, x: Tensor, conditions: Iterator[tuple[Sequence[Tensor], Sequence[Tensor]]]) -> Tensor:
        """Each block takes the next of ``conditions``: what it reads of the context, and of the step."""
        for block in self:
            x = block(x, *next(conditions))
        return x


class ConditionalUnet(nn.Module, Generic[Condition]):
    """Noisy chunk (B, H, A) → prediction (B, H, A), H a multiple of 2^(levels - 1).

    Args:
        condition: makes the module that conditions a block of so many channels; called as ``condition(x (B, channels, length),
            memory of this block, step of this block)``.
    """

    def __init__(self, action_dim: int, config: UnetConfig, condition: Callable[[int], Condition]) -> None:
        super().__init__()
        widths = config.widths

        def block(channels_in: int, channels_out: int) -> ConditionalBlock[Condition]:
            return ConditionalBlock(channels_in, channels_out, config.kernel, condition(channels_out))

        def pair(channels_in: int, channels_out: int) -> BlockPair:
            return BlockPair([block(channels_in, channels_out), block(channels_out, channels_out)])

        self.down = nn.ModuleList([pair(a, b) for a, b in zip((action_dim, *widths), widths, strict=False)])
        self.shrink = nn.ModuleList([nn.Conv1d(w, w, 3, stride=2, padding=1) for w in widths[:-1]])
        self.middle = pair(widths[-1], widths[-1])
        steps_up = [(2 * b, a) for a, b in itertools.pairwise(widths)][::-1]
        self.up = nn.ModuleList([pair(a, b) for a, b in steps_up])
        self.grow = nn.ModuleList([nn.ConvTranspose1d(b, b, 4, stride=2, padding=1) for _, b in steps_up])
        self.out = nn.Sequential(
            ConvolutionBlock(widths[0], widths[0], config.kernel), nn.Conv1d(widths[0], action_dim, 1)
        )

    def conditions(self) -> list[Condition]:
        """The blocks' conditioning modules, in the order in which ``forward`` meets them."""
        blocks = (block for pair in (*self.down, self.middle, *self.up) for block in pair.children())
        return [block.condition for block in blocks if isinstance(block, ConditionalBlock)]

    def forward(self, noisy: Tensor, memories: Sequence[Sequence[Tensor]], steps: Sequence[Sequence[Tensor]]) -> Tensor:
        """``memories`` and ``steps``: what each block's condition reads of the context and of the diffusion step, in the order of
        ``conditions``."""
        per_block = zip(memories, steps, strict=True)
        x = noisy.transpose(1, 2)
        skips = []
        for level, pair in enumerate(self.down):
            x = pair(x, per_block)
            skips.append(x)  # the first level's is not read: the published UNet ends its upward path one level earlier
            if level < len(self.shrink):
                x = self.shrink[level](x)
        x = self.middle(x, per_block)
        for pair, grow in zip(self.up, self.grow, strict=True):
            x = grow(pair(torch.cat([x, skips.pop()], dim=1), per_block))
        return self.out(x).transpose(1, 2)


def check_unet(config: UnetConfig, horizon: int) -> None:
    """Raises ConfigurationError when such a UNet cannot be built, or not over a chunk of ``horizon`` rows."""
    if not config.widths or any(width < 1 or width % GROUPS for width in config.widths):
        raise ConfigurationError(f"model.unet.widths {list(config.widths)}: give one or more multiples of {GROUPS}")
    if config.kernel < 1 or config.kernel % 2 == 0:
        raise ConfigurationError(f"model.unet.kernel {config.kernel}: give an odd number")
    levels = 2 ** (len(config.widths) - 1)
    if horizon % levels:
        raise ConfigurationError(
            f"chunk of {horizon} steps: must be a multiple of {levels} for {len(config.widths)} UNet widths"
        )
