"""The UNet whose blocks are scaled and shifted by one vector that stands for the whole history (FiLM, arXiv 1709.07871)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from policy_server.model.tokens import HistoryTokens, StepToken
from policy_server.model.unet import ConditionalUnet, UnetConfig
from policy_server.runtime.errors import PolicyError


class ContextLengthError(PolicyError):
    """A network for a fixed number of observations was given more."""


class FilmCondition(nn.Module):
    """Scale and shift per channel of a block's sequence (B, channels, length), from the history's vector and the step's.

    Each part depends on one of them alone: ``project`` and ``project_step`` compute them once per chunk.
    """

    def __init__(self, channels: int, condition_width: int, step_width: int) -> None:
        super().__init__()
        self.history = nn.Linear(condition_width, 2 * channels)
        self.step = nn.Sequential(nn.SiLU(), nn.Linear(step_width, 2 * channels, bias=False))

    def project(self, condition: Tensor) -> Tensor:
        """Vector (B, condition_width) → its part of scale and shift (B, 2 * channels, 1)."""
        return self.history(condition)[..., None]

    def project_step(self, step_token: Tensor) -> Tensor:
        """Token (S, 1, step_width) → its part of scale and shift (S, 2 * channels, 1)."""
        return self.step(step_token).transpose(1, 2)

    def forward(self, x: Tensor, memory: Sequence[Tensor], step: Sequence[Tensor]) -> Tensor:
        scale, shift = (memory[0] + step[0] if step else memory[0]).chunk(2, dim=1)
        return x * (1 + scale) + shift


class FilmUnet(nn.Module):
    """Predicts from the noisy chunk (B, H, A), the diffusion step and rows (B, T, 1 + F), age in ticks first.

    The rows' tokens are laid end to end and mapped to one vector, so that every slot has weights of its own and the number of
    slots is part of the network. A hidden row contributes zero; of a shorter context, the oldest slots are hidden.
    """

    any_length = False

    def __init__(self, row_features: int, action_dim: int, slots: int, config: UnetConfig) -> None:
        super().__init__()
        token_width = config.widths[0]
        condition_width = 4 * token_width
        self.slots = slots
        self.tokens = HistoryTokens(row_features, token_width)
        self.condition = nn.Sequential(nn.Linear(slots * token_width, condition_width), nn.SiLU())
        self.step = StepToken(token_width)
        self.unet = ConditionalUnet(action_dim, config, lambda c: FilmCondition(c, condition_width, token_width))

    def project(self, rows: Tensor, visible: Tensor | None = None, steps: Tensor | None = None) -> list[Tensor]:
        """All that depends on the context alone: the history's part of every block's scale and shift.

        ``visible`` bool (B, T): False hides a row. ``steps`` float (B,): the memory is for them alone, as ``DiffusionPolicy.predict_once``.

        Raises:
            ContextLengthError: there are more rows than slots.
        """
        if rows.shape[1] > self.slots:
            raise ContextLengthError(
                f"context of {rows.shape[1]} rows: this unet_film has {self.slots} slots, give as many or fewer"
            )
        tokens = self.tokens(rows)
        if visible is not None:
            tokens = tokens * visible[..., None]
        tokens = functional.pad(tokens, (0, 0, self.slots - tokens.shape[1], 0))
        condition = self.condition(tokens.flatten(1))
        memory = [block.project(condition) for block in self.unet.conditions()]
        if steps is None:
            return memory
        return [of_rows + of_step for of_rows, of_step in zip(memory, self.project_steps(steps), strict=True)]

    def project_steps(self, steps: Tensor) -> list[Tensor]:
        """All that depends on the diffusion step alone, float (S,): its part of every block's scale and shift, each (S, ...)."""
        token = self.step(steps)
        return [block.project_step(token) for block in self.unet.conditions()]

    def forward(self, noisy: Tensor, step: Sequence[Tensor], memory: Sequence[Tensor]) -> Tensor:
        """``noisy`` (B, H, A), ``step`` from ``project_steps``, or nothing, and ``memory`` from ``project``, of B or of one."""
        return self.unet(noisy, [[part] for part in memory], [step[i : i + 1] for i in range(len(memory))])
