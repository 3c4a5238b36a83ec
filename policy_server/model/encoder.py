"""Image encoder: a small ResNet with GroupNorm per camera, one frame in, one embedding out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.manifest import CameraSpec

Head = Literal["flatten", "spatial_softmax", "pooled"]
GROUPS = 8


@dataclass(frozen=True)
class EncoderConfig:
    """Widths per stage (each halves the picture), residual blocks per stage after the stem, the embedding's width per camera.

    A ResNet-18 has the widths (64, 64, 128, 256, 512) and 2 blocks per stage.

    ``head``: what becomes of the last feature map before it is projected to the embedding. ``flatten`` keeps what is seen and where,
    with weights per place; ``spatial_softmax`` keeps where each channel sees most (arXiv 1504.00702, section 4.2); ``pooled`` keeps
    each channel's mean, whatever the place.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    embedding_dim: int = 96
    head: Head = "flatten"
    blocks_per_stage: int = 1


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with GroupNorm, and a shortcut; with stride 2 it halves height and width."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 2) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1),
            nn.GroupNorm(GROUPS, channels_out),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
            nn.GroupNorm(GROUPS, channels_out),
        )
        is_same = stride == 1 and channels_in == channels_out
        self.shortcut = nn.Identity() if is_same else nn.Conv2d(channels_in, channels_out, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.convolutions(x) + self.shortcut(x))


class SpatialSoftmax(nn.Module):
    """Feature map (B, C, h, w) → where each channel is strongest on average, (B, 2 C): x then y, -1 left or top to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        weights = (
            (features.flatten(2) * torch.exp(-self.log_temperature)).softmax(dim=-1).unflatten(-1, (height, width))
        )
        x = (weights.sum(2) * torch.linspace(-1, 1, width, device=features.device)).sum(-1)
        y = (weights.sum(3) * torch.linspace(-1, 1, height, device=features.device)).sum(-1)
        return torch.cat([x, y], dim=-1)


class CameraEncoder(nn.Module):
    """One camera's pictures, uint8 (B, H, W, 3) → float32 (B, embedding_dim), layer-normalised."""

    def __init__(self, height: int, width: int, config: EncoderConfig) -> None:
        super().__init__()
        first, *others = config.widths
        self.stem = nn.Sequential(nn.Conv2d(3, first, 5, stride=2, padding=2), nn.GroupNorm(GROUPS, first), nn.ReLU())
        self.blocks = nn.Sequential(
            *[
                ResidualBlock(channels, width, 2) if index == 0 else ResidualBlock(width, width, 1)
                for channels, width in zip(config.widths, others, strict=False)
                for index in range(config.blocks_per_stage)
            ]
        )
        shrink = 2 ** len(config.widths)
        reduce, features = _reduction(config, -(-height // shrink), -(-width // shrink))
        self.head = nn.Sequential(reduce, nn.Linear(features, config.embedding_dim))
        self.normalise = nn.LayerNorm(config.embedding_dim)

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        return self.normalise(self.head(self.blocks(self.stem(pixels))).float())


class ObservationEncoder(nn.Module):
    """All cameras of one tick → one embedding (B, E), E = cameras x embedding_dim, in the order of the spec; E may be 0."""

    def __init__(self, cameras: Sequence[CameraSpec], config: EncoderConfig) -> None:
        super().__init__()
        self.camera_names = tuple(camera.name for camera in cameras)
        self.encoders = nn.ModuleList([CameraEncoder(camera.height, camera.width, config) for camera in cameras])
        self.embedding_dim = config.embedding_dim * len(cameras)

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([e(images[name]) for name, e in zip(self.camera_names, self.encoders, strict=True)], dim=-1)


def check_encoder(config: EncoderConfig) -> None:
    """Raises ConfigurationError when such an encoder cannot be built."""
    if not config.widths or any(width < 1 or width % GROUPS for width in config.widths):
        raise ConfigurationError(f"model.encoder.widths {list(config.widths)}: give one or more multiples of {GROUPS}")
    if config.blocks_per_stage < 1:
        raise ConfigurationError(f"model.encoder.blocks_per_stage {config.blocks_per_stage}: give 1 or more")
    if config.embedding_dim < 2:
        raise ConfigurationError(f"model.encoder.embedding_dim {config.embedding_dim}: give 2 or more")


def _reduction(config: EncoderConfig, height: int, width: int) -> tuple[nn.Module, int]:
    """What the head does with the last map of height x width, and how many numbers are left."""
    channels = config.widths[-1]
    if config.head == "spatial_softmax":
        return SpatialSoftmax(), 2 * channels
    if config.head == "pooled":
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels
    return nn.Flatten(), channels * height * width
