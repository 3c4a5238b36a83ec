"""The policy: encoder, denoiser, diffusion and scaling under one roof, as training sees it and export splits it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from policy_server.model.attention import KeysValues
from policy_server.model.diffusion import Diffusion, Prediction
from policy_server.model.encoder import EncoderConfig, ObservationEncoder
from policy_server.model.unet import CrossAttentionUnet, UnetConfig
from policy_server.runtime.manifest import PolicySpec


@dataclass(frozen=True)
class ModelConfig:
    """The networks' sizes, and what they predict.

    ``prediction``: ``noise`` as in DDPM, or ``clean``, the clean chunk itself, which needs far fewer steps to become precise
    (3D Diffusion Policy, arXiv 2403.03954, section III-C). ``actions``: ``absolute`` joint targets, or ``relative`` to the
    newest measured joints; the bundle answers absolute ones in either case.
    """

    backbone: Literal["unet_attention", "unet_film", "transformer"] = "unet_attention"
    prediction: Prediction = "clean"
    actions: Literal["absolute", "relative"] = "relative"

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    unet: UnetConfig = field(default_factory=UnetConfig)


class Scaling(nn.Module):
    """Statistics of the training data: proprioception to zero mean and unit deviation, actions (or their distance from the
    newest joints) to [-1, 1]."""

    proprioception_mean: Tensor
    proprioception_std: Tensor
    action_middle: Tensor
    action_half_range: Tensor

    def __init__(self, proprioception: int, actions: int) -> None:
        super().__init__()
        self.register_buffer("proprioception_mean", torch.zeros(proprioception))
        self.register_buffer("proprioception_std", torch.ones(proprioception))
        self.register_buffer("action_middle", torch.zeros(actions))
        self.register_buffer("action_half_range", torch.ones(actions))

    def fit(self, proprioception: Tensor, actions: Tensor) -> None:
        """Take the statistics from proprioception (N, P) and actions (N, A), rad and m."""
        self.proprioception_mean.copy_(proprioception.mean(0))
        # A joint that never moves (a parked gripper) would otherwise blow sensor noise up to unit size.
        self.proprioception_std.copy_(proprioception.std(0).clamp(min=1e-2))
        low, high = actions.amin(0), actions.amax(0)
        self.action_middle.copy_((low + high) / 2)
        self.action_half_range.copy_(((high - low) / 2).clamp(min=1e-2))

    def scale_actions(self, actions: Tensor) -> Tensor:
        return (actions - self.action_middle) / self.action_half_range

    def unscale_actions(self, scaled: Tensor) -> Tensor:
        return scaled * self.action_half_range + self.action_middle


class DiffusionPolicy(nn.Module):
    """A long-context diffusion policy.

    Context rows, float32 (B, T, 1 + E + P): age in s, embedding, proprioception in rad and m.
    """

    def __init__(self, spec: PolicySpec, config: ModelConfig) -> None:
        super().__init__()
        proprioception, actions = len(spec.proprioception_joints), len(spec.action.joints)
        self.rate_hz = spec.rate_hz
        self.proprioception = proprioception
        self.encoder = ObservationEncoder(spec.cameras, config.encoder)
        self.scaling = Scaling(proprioception, actions)
        self.unet = CrossAttentionUnet(self.encoder.embedding_dim + proprioception, actions, config.unet)
        self.diffusion = Diffusion(spec.sampler.training_steps, spec.sampler.steps, config.prediction)
        self.relative = config.actions == "relative"
        first = len(spec.proprioception_joints)
        self.anchor_columns = (
            [spec.proprioception_joints.index(joint) - first for joint in spec.action.joints] if self.relative else []
        )

    def encode(self, images: Mapping[str, Tensor]) -> Tensor:
        """Camera name → uint8 (B, H, W, 3); returns the embedding (B, E)."""
        return self.encoder(images)

    def project(self, context: Tensor) -> list[KeysValues]:
        """All that the denoiser needs of a context (B, T, 1 + E + P)."""
        proprioception = (
            context[..., -self.proprioception :] - self.scaling.proprioception_mean
        ) / self.scaling.proprioception_std
        ticks = context[..., :1] * self.rate_hz
        return self.unet.project(torch.cat([ticks, context[..., 1 : -self.proprioception], proprioception], dim=-1))

    def anchor(self, context: Tensor) -> Tensor:
        """What actions are measured from, (B, 1, A) in rad and m: the newest joints, or zero for absolute actions."""
        if not self.relative:
            return torch.zeros_like(context[:, -1:, : self.scaling.action_middle.shape[0]])
        return context[:, -1:, self.anchor_columns]

    def loss(self, context: Tensor, actions: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean squared error of the prediction, over all past and future actions (B, H, A) in rad and m."""
        clean = self.scaling.scale_actions(actions - self.anchor(context))
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        step = torch.randint(self.diffusion.training_steps, (len(clean),), generator=generator).to(clean.device)
        predicted = self.unet(self.diffusion.add_noise(clean, noise, step), step.float(), self.project(context))
        return (predicted.float() - self.diffusion.target(clean, noise)).square().mean()

    def sample(self, context: Tensor, noise: Tensor) -> Tensor:
        """Context (B, T, D) and noise (B, H, A) → joint targets (B, H, A), rad and m."""
        history = self.project(context)
        scaled = self.diffusion.sample(lambda noisy, step: self.unet(noisy, step, history), noise)
        return self.scaling.unscale_actions(scaled) + self.anchor(context)
