"""Policies of every backbone, small enough to sample and to export in a test, with random weights."""

import dataclasses

import torch
from torch import Tensor

from policy_server.model.encoder import EncoderConfig
from policy_server.model.policy import DiffusionPolicy, ModelConfig
from policy_server.model.transformer import TransformerConfig
from policy_server.model.unet import UnetConfig
from policy_server.runtime.manifest import ActionSpec, CameraSpec, HistorySpec, PolicySpec, SamplerSpec
from tests.synthetic_bundle import JOINTS

BACKBONES = ("unet_attention", "unet_film", "transformer")
FEATURES = ("lamp_red", "lamp_green", "button_depth_m")
_EMBEDDING_DIM = 6
_CAMERAS = (CameraSpec("front", 20, 24, (2, 4, 16, 16), 16, 16), CameraSpec("wrist", 16, 16, (0, 0, 16, 16), 8, 8))


def network_spec(
    *,
    context_length: int = 4,
    stride_ticks: int = 1,
    cameras: bool = False,
    past_steps: int = 2,
    sampling_steps: int = 4,
) -> PolicySpec:
    """A policy over two cameras, or over three features; 6 future actions after the past ones."""
    offsets = tuple(range((context_length - 1) * stride_ticks, -1, -stride_ticks))
    return PolicySpec(
        name="small",
        task="reach_cued",
        rate_hz=10.0,
        cameras=_CAMERAS if cameras else (),
        proprioception_joints=JOINTS,
        history=HistorySpec(offsets, 2 * _EMBEDDING_DIM if cameras else 0),
        action=ActionSpec(JOINTS, past_steps, 6, 2),
        sampler=SamplerSpec("ddim", sampling_steps, 100),
        features=() if cameras else FEATURES,
    )


def small_encoder(head: str = "flatten") -> EncoderConfig:
    return EncoderConfig((8, 8), _EMBEDDING_DIM, head)  # type: ignore[arg-type]


def network_config(backbone: str, **changes: object) -> ModelConfig:
    config = ModelConfig(
        encoder=small_encoder(),
        unet=UnetConfig((16, 32), 3, 2),
        transformer=TransformerConfig(16, 2, 2),
    )
    return dataclasses.replace(config, backbone=backbone, **changes)  # type: ignore[arg-type]


def random_extremes(spec: PolicySpec) -> Tensor:
    """Least and greatest actions (2, H, A)."""
    ends = 1 + torch.rand(2, spec.action.horizon, len(spec.action.joints))
    return ends * torch.tensor([-1.0, 1.0])[:, None, None]


def random_policy(spec: PolicySpec, config: ModelConfig, *, seed: int = 0) -> DiffusionPolicy:
    torch.manual_seed(seed)
    policy = DiffusionPolicy(spec, config)
    policy.scaling.fit(torch.randn(50, len(spec.state_names)), random_extremes(spec))
    return policy.eval()


def random_context(spec: PolicySpec, batch: int = 1, *, seed: int = 1) -> torch.Tensor:
    """Contexts (batch, T, D) of random rows with the slots' nominal ages."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn((batch, spec.history.length, spec.row_width), generator=generator)
    rows[..., 0] = torch.tensor(spec.history.offsets_ticks) / spec.rate_hz
    return rows


def random_noise(spec: PolicySpec, batch: int = 1, *, seed: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((batch, spec.action.horizon, len(spec.action.joints)), generator=generator)
