"""The UNet whose blocks read the history by cross-attention (arXiv 2606.16447, "UNet + cross-attention")."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from policy_server.model.attention import CrossAttention, mask_bias
from policy_server.model.tokens import HistoryTokens, StepToken
from policy_server.model.unet import ConditionalUnet, UnetConfig


class AttentionCondition(nn.Module):
    """Cross-attention of a block's sequence (B, channels, length) to the history and the diffusion step."""

    def __init__(self, channels: int, token_width: int, heads: int) -> None:
        super().__init__()
        self.attention = CrossAttention(channels, token_width, heads)

    def forward(self, x: Tensor, memory: Sequence[Tensor], step: Sequence[Tensor]) -> Tensor:
        return self.attention(x.transpose(1, 2), memory, step).transpose(1, 2)


class AttentionUnet(nn.Module):
    """Predicts from the noisy chunk (B, H, A), the diffusion step and rows (B, T, 1 + F) of any number, age in ticks first.

    One token per observation, projected once to the first width, plus a sinusoidal encoding of its age; the diffusion step
    is one extra token without position. No causal mask: every action sees the whole history.
    """

    any_length = True

    def __init__(self, row_features: int, action_dim: int, config: UnetConfig) -> None:
        super().__init__()
        token_width = config.widths[0]
        self.tokens = HistoryTokens(row_features, token_width)
        self.step = StepToken(token_width)
        self.unet = ConditionalUnet(action_dim, config, lambda c: AttentionCondition(c, token_width, config.heads))

    def project(self, rows: Tensor, visible: Tensor | None = None, steps: Tensor | None = None) -> list[Tensor]:
        """All that depends on the context alone: keys and values of every block, then a mask if rows are hidden.

        ``visible`` bool (B, T): False hides a row. ``steps`` float (B,): the memory is for them alone, as ``DiffusionPolicy.predict_once``.
        """
        tokens = self.tokens(rows)
        if steps is not None:
            tokens = torch.cat([tokens, self.step(steps)], dim=1)
            visible = None if visible is None else functional.pad(visible, (0, 1), value=True)
        memory = self._project(tokens)
        return memory if visible is None else [*memory, mask_bias(visible[:, None, None])]

    def project_steps(self, steps: Tensor) -> list[Tensor]:
        """All that depends on the diffusion step alone, float (S,): key and value of every block, each (S, ...)."""
        return self._project(self.step(steps))

    def forward(self, noisy: Tensor, step: Sequence[Tensor], memory: Sequence[Tensor]) -> Tensor:
        """``noisy`` (B, H, A), ``step`` from ``project_steps``, or nothing, and ``memory`` from ``project``, of B or of one."""
        blocks = range(len(self.unet.conditions()))
        bias = memory[2 * len(blocks) :]
        memories = [(*memory[2 * i : 2 * i + 2], *bias) for i in blocks]
        return self.unet(noisy, memories, [step[2 * i : 2 * i + 2] for i in blocks])

    def _project(self, tokens: Tensor) -> list[Tensor]:
        return [part for condition in self.unet.conditions() for part in condition.attention.project(tokens)]
