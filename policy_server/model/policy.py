"""The policy: encoder, denoiser, diffusion and scaling under one roof, as training sees it and export splits it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from policy_server.model.diffusion import Diffusion, Prediction
from policy_server.model.encoder import EncoderConfig, ObservationEncoder, check_encoder
from policy_server.model.transformer import TransformerConfig, TransformerDenoiser, check_transformer
from policy_server.model.unet import UnetConfig, check_unet
from policy_server.model.unet_attention import AttentionUnet
from policy_server.model.unet_film import FilmUnet
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.manifest import PolicySpec

# All have the same three calls: ``project(rows, visible)`` and ``project_steps(steps)``, everything that depends on the context or
# on the diffusion step alone, as flat lists of tensors, and ``forward(noisy, step, memory)``, one denoising step.
Denoiser = AttentionUnet | FilmUnet | TransformerDenoiser

_LEAST_JOINT_STD = 1e-2  # rad, m: else a joint that never moves (a parked gripper) would be sensor noise of unit size
_LEAST_HALF_RANGE = 1e-2  # rad, m; of one row of the chunk a fifth of it, since rows near the present hardly move
_LEAST_FEATURE_STD = 1e-3  # features carry no noise, and some move by millimetres (a button)


@dataclass(frozen=True)
class ModelConfig:
    """The networks' sizes, and what they predict.

    ``backbone``: ``unet_attention`` and ``unet_film`` are of the sizes ``unet``, ``transformer`` of the sizes ``transformer``.
    ``prediction``: ``noise`` as in DDPM, or ``clean``, the clean chunk itself, which needs far fewer steps to become precise
    (3D Diffusion Policy, arXiv 2403.03954, section III-C). ``actions``: ``absolute`` joint targets, or ``relative`` to the
    newest measured joints; the bundle answers absolute ones in either case. ``action_scaling``: actions are scaled to [-1, 1] with
    one range per joint for the whole ``chunk``, or with one per joint and ``step`` of the chunk: relative actions of the next tick are far
    smaller than those a second ahead, and with a common range their errors hardly count.
    """

    backbone: Literal["unet_attention", "unet_film", "transformer"] = "unet_attention"
    prediction: Prediction = "clean"
    actions: Literal["absolute", "relative"] = "relative"
    action_scaling: Literal["chunk", "step"] = "step"
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    unet: UnetConfig = field(default_factory=UnetConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)


class Scaling(nn.Module):
    """Statistics of the training data: states to zero mean and unit deviation, chunks of actions (or of their distance from the
    newest joints), (B, H, A), to [-1, 1]."""

    state_mean: Tensor
    state_std: Tensor
    action_middle: Tensor
    action_half_range: Tensor

    def __init__(self, joints: int, features: int, horizon: int, actions: int, *, per_step: bool) -> None:
        super().__init__()
        self.joints = joints
        self.per_step = per_step
        self.register_buffer("state_mean", torch.zeros(joints + features))
        self.register_buffer("state_std", torch.ones(joints + features))
        self.register_buffer("action_middle", torch.zeros(horizon, actions))
        self.register_buffer("action_half_range", torch.ones(horizon, actions))

    def fit(self, states: Tensor, extremes: Tensor) -> None:
        """Take the statistics from states (N, S), joints first, and from ``extremes`` (2, H, A): the least and the greatest action of
        each row of the chunk, rad and m."""
        self.state_mean.copy_(states.mean(0))
        std = states.std(0)
        std[: self.joints].clamp_(min=_LEAST_JOINT_STD)
        self.state_std.copy_(std.clamp(min=_LEAST_FEATURE_STD))
        low, high = extremes
        if not self.per_step:
            low, high = low.amin(0), high.amax(0)
        self.action_middle.copy_((low + high) / 2)
        least = _LEAST_HALF_RANGE / 5 if self.per_step else _LEAST_HALF_RANGE
        self.action_half_range.copy_(((high - low) / 2).clamp(min=least))

    def scale_states(self, states: Tensor) -> Tensor:
        return (states - self.state_mean) / self.state_std

    def scale_actions(self, actions: Tensor) -> Tensor:
        return (actions - self.action_middle) / self.action_half_range

    def unscale_actions(self, scaled: Tensor) -> Tensor:
        return scaled * self.action_half_range + self.action_middle


class DiffusionPolicy(nn.Module):
    """A long-context diffusion policy.

    Context rows, float32 (B, T, 1 + E + S): age in s, embedding, state (joints in rad and m, then features). T is the spec's context
    length or less; of a shorter context the oldest rows are left out.

    Raises:
        ConfigurationError: the sizes do not go together.
    """

    def __init__(self, spec: PolicySpec, config: ModelConfig) -> None:
        super().__init__()
        check_model(config, spec.action.horizon)
        states, actions = len(spec.state_names), len(spec.action.joints)
        self.rate_hz = spec.rate_hz
        self.states = states
        self.encoder = ObservationEncoder(spec.cameras, config.encoder)
        self.scaling = Scaling(
            len(spec.proprioception_joints),
            len(spec.features),
            spec.action.horizon,
            actions,
            per_step=config.action_scaling == "step",
        )
        self.denoiser = _build_denoiser(spec, config, self.encoder.embedding_dim + states)
        self.diffusion = Diffusion(spec.sampler.training_steps, spec.sampler.steps, config.prediction)
        self.relative = config.actions == "relative"
        # Counted from the end, so that they hold for a state as well as for a context row.
        self.anchor_columns = (
            [spec.state_names.index(joint) - states for joint in spec.action.joints] if self.relative else []
        )

    def encode(self, images: Mapping[str, Tensor]) -> Tensor:
        """Camera name → uint8 (B, H, W, 3); returns the embedding (B, E). Not for a policy without cameras."""
        return self.encoder(images)

    def project(self, context: Tensor, visible: Tensor | None = None, steps: Tensor | None = None) -> list[Tensor]:
        """The memory: all that the denoiser needs of a context (B, T, 1 + E + S), computed once per chunk.

        Args:
            visible: bool (B, T); False hides a row from the network. Relative actions are still measured from the newest one.
            steps: see ``predict_once``.
        """
        ticks = context[..., :1] * self.rate_hz
        states = self.scaling.scale_states(context[..., -self.states :])
        return self.denoiser.project(torch.cat([ticks, context[..., 1 : -self.states], states], dim=-1), visible, steps)

    def predict(self, noisy: Tensor, step: Tensor, memory: Sequence[Tensor]) -> Tensor:
        """What the network makes of a noisy scaled chunk (B, H, A): the noise or the clean chunk, as ``prediction`` says.

        Args:
            step: of the training schedule, float (B,) or (1,).
            memory: from ``project``, of B contexts or of one.
        """
        return self.denoiser(noisy, self.denoiser.project_steps(step), memory)

    def predict_once(self, noisy: Tensor, step: Tensor, context: Tensor, visible: Tensor | None = None) -> Tensor:
        """``predict`` from contexts (B, T, 1 + E + S) that are each read at one ``step``, float (B,), alone, as in training.

        The memory holds the step as well as the context, which takes fewer operations than to join them in every block.
        """
        return self.denoiser(noisy, (), self.project(context, visible, step))

    def anchor(self, context: Tensor) -> Tensor:
        """What actions are measured from, (B, 1, A) in rad and m: the newest joints, or zero for absolute actions."""
        if not self.relative:
            return torch.zeros_like(self.scaling.action_middle[:1]).expand(context.shape[0], 1, -1)
        return context[:, -1:, self.anchor_columns]

    def loss(
        self,
        context: Tensor,
        actions: Tensor,
        generator: torch.Generator | None = None,
        *,
        visible: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error of the prediction for actions (B, H, A) in rad and m, past rows first.

        Args:
            generator: on the CPU; makes noise and diffusion steps reproducible on any device.
            visible: see ``project``.
            weights: float (H,) or (B, H), the share of each chunk row in the mean; 0: not learned, and shown to the network as noise
                alone. At least one is positive.
        """
        clean = self.scaling.scale_actions(actions - self.anchor(context))
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        step = torch.randint(self.diffusion.training_steps, (len(clean),), generator=generator).to(clean.device)
        noisy = self.diffusion.add_noise(clean, noise, step)
        if weights is not None:
            weights = weights.expand(noisy.shape[:2])
            noisy = torch.where(weights[..., None] > 0, noisy, noise)  # else it would tell what must not be known
        predicted = self.predict_once(noisy, step.float(), context, visible)
        errors = (predicted.float() - self.diffusion.target(clean, noise)).square().mean(-1)
        if weights is None:
            return errors.mean()
        return (weights * errors).sum() / weights.sum()

    def sample(
        self,
        context: Tensor,
        noise: Tensor,
        *,
        held: Tensor | None = None,
        held_weight: Tensor | None = None,
        first_step: int = 0,
    ) -> Tensor:
        """Context (B, T, D) and noise (B, H, A) → joint targets (B, H, A), rad and m; one context serves any number of noises.

        Args:
            held: joint targets (1, H, A), rad and m, past rows first, to be kept or to start from; see ``Diffusion.sample``.
            held_weight: (H,) in [0, 1], how much of each row is kept.
            first_step: sampling steps that are left out; the walk begins at ``held``, noised.
        """
        memory, anchor = self.project(context), self.anchor(context)
        scaled_held = self.scaling.scale_actions(held - anchor) if held is not None else None
        scaled = self.diffusion.sample(
            lambda noisy, step: self.predict(noisy, step, memory), noise, scaled_held, held_weight, first_step
        )
        return self.scaling.unscale_actions(scaled) + anchor


def check_model(config: ModelConfig, horizon: int) -> None:
    """Raises ConfigurationError when these networks cannot be built, or not for a chunk of ``horizon`` rows."""
    check_encoder(config.encoder)
    if config.backbone == "transformer":
        check_transformer(config.transformer)
        return
    check_unet(config.unet, horizon)
    heads = config.unet.heads
    if config.backbone == "unet_attention" and (heads < 1 or any(width % heads for width in config.unet.widths)):
        raise ConfigurationError(
            f"model.unet.heads {heads}: must divide every one of the widths {list(config.unet.widths)}"
        )


def _build_denoiser(spec: PolicySpec, config: ModelConfig, row_features: int) -> Denoiser:
    action = spec.action
    if config.backbone == "unet_film":
        return FilmUnet(row_features, len(action.joints), spec.history.length, config.unet)
    if config.backbone == "transformer":
        sizes = config.transformer
        return TransformerDenoiser(row_features, len(action.joints), action.horizon, action.past_steps, sizes)
    return AttentionUnet(row_features, len(action.joints), config.unet)
