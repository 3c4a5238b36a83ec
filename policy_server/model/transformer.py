"""Diffusion transformer with a causal memory mask (arXiv 2505.09561, in the form of Diffusion Policy, arXiv 2303.04137)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from policy_server.model.attention import CausalSelfAttention, CrossAttention, mask_bias
from policy_server.model.tokens import HistoryTokens, StepToken
from policy_server.runtime.errors import ConfigurationError

_SLACK_TICKS = 0.5  # a slot takes an observation up to half a period after its time (runtime/windows.py)


@dataclass(frozen=True)
class TransformerConfig:
    """Width of the tokens, decoder layers and attention heads. The paper's: 256, 8, 4."""

    width: int = 128
    layers: int = 4
    heads: int = 4


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention to the history and the step, feed-forward; all pre-norm and residual."""

    def __init__(self, horizon: int, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attention = CausalSelfAttention(config.width, config.heads, horizon)
        self.cross_attention = CrossAttention(config.width, config.width, config.heads)

    def forward(self, x: Tensor, memory: Sequence[Tensor], step: Sequence[Tensor]) -> Tensor:
        return self.cross_attention(self.self_attention(x), memory, step)


class TransformerDenoiser(nn.Module):
    """Predicts from the noisy chunk (B, H, A), the diffusion step and rows (B, T, 1 + F) of any number, age in ticks first.

    Row k of the chunk is the action at tick k - ``past_steps`` from now. It reads itself and the actions before it, the diffusion
    step, and the observations that were there when it was taken: those at least ``past_steps - k`` ticks old. Actions
    to come read all of them.
    """

    any_length = True
    offsets_ticks: Tensor

    def __init__(
        self, row_features: int, action_dim: int, horizon: int, past_steps: int, config: TransformerConfig
    ) -> None:
        super().__init__()
        width = config.width
        self.tokens = HistoryTokens(row_features, width)
        self.step = StepToken(width)
        self.actions = nn.Linear(action_dim, width)
        self.position = nn.Parameter(0.02 * torch.randn(horizon, width))
        self.layers = nn.ModuleList([DecoderLayer(horizon, config) for _ in range(config.layers)])
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, action_dim))
        self.register_buffer("offsets_ticks", torch.arange(horizon).float() - past_steps, persistent=False)

    def project(self, rows: Tensor, visible: Tensor | None = None, steps: Tensor | None = None) -> list[Tensor]:
        """All that depends on the context alone: keys and values of every layer, then the mask (B, 1, H, T).

        ``visible`` bool (B, T): False hides a row. ``steps`` float (B,): the memory is for them alone, as ``DiffusionPolicy.predict_once``.
        """
        tokens = self.tokens(rows)
        seen = rows[:, None, None, :, 0] + self.offsets_ticks[:, None] >= -_SLACK_TICKS
        seen = seen if visible is None else seen & visible[:, None, None]
        if steps is not None:
            tokens = torch.cat([tokens, self.step(steps)], dim=1)
            seen = functional.pad(seen, (0, 1), value=True)
        return [*self._project(tokens), mask_bias(seen)]

    def project_steps(self, steps: Tensor) -> list[Tensor]:
        """All that depends on the diffusion step alone, float (S,): key and value of every layer, each (S, ...)."""
        return self._project(self.step(steps))

    def forward(self, noisy: Tensor, step: Sequence[Tensor], memory: Sequence[Tensor]) -> Tensor:
        """``noisy`` (B, H, A), ``step`` from ``project_steps``, or nothing, and ``memory`` from ``project``, of B or of one."""
        x = self.actions(noisy) + self.position
        for i, layer in enumerate(self.layers):
            x = layer(x, (*memory[2 * i : 2 * i + 2], memory[-1]), step[2 * i : 2 * i + 2])
        return self.out(x)

    def _project(self, tokens: Tensor) -> list[Tensor]:
        return [part for layer in self._layers() for part in layer.cross_attention.project(tokens)]

    def _layers(self) -> list[DecoderLayer]:
        return [layer for layer in self.layers if isinstance(layer, DecoderLayer)]


def check_transformer(config: TransformerConfig) -> None:
    """Raises ConfigurationError when such a transformer cannot be built."""
    if min(config.width, config.layers, config.heads) < 1 or config.width % (2 * config.heads) or config.width < 4:
        raise ConfigurationError(
            f"model.transformer width {config.width}, layers {config.layers}, heads {config.heads}: give positive numbers, the width "
            "an even multiple of the heads, 4 or more"
        )
