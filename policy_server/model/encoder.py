"""Image encoder: a small ResNet with GroupNorm per camera, one frame in, one embedding out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policy_server.runtime.manifest import CameraSpec


@dataclass(frozen=True)
class EncoderConfig:
    """Widths per stage (each halves the picture) and the embedding's width per camera."""

    widths: tuple[int, ...] = (16, 32, 64)
    embedding_dim: int = 96


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with GroupNorm and a strided shortcut; halves height and width."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1),
            nn.GroupNorm(8, channels_out),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
            nn.GroupNorm(8, channels_out),
        )
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.convolutions(x) + self.shortcut(x))


class CameraEncoder(nn.Module):
    """One camera's pictures, uint8 (B, H, W, 3) → float32 (B, embedding_dim), layer-normalised.

    The last feature map is flattened, not pooled: a fixed camera needs both what is seen and where.
    """

    def __init__(self, height: int, width: int, config: EncoderConfig) -> None:
        super().__init__()
        first, *others = config.widths
        self.stem = nn.Sequential(nn.Conv2d(3, first, 5, stride=2, padding=2), nn.GroupNorm(8, first), nn.ReLU())
        self.blocks = nn.Sequential(*[ResidualBlock(a, b) for a, b in zip(config.widths, others, strict=False)])
        shrink = 2 ** len(config.widths)
        features = config.widths[-1] * -(-height // shrink) * -(-width // shrink)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(features, config.embedding_dim))
        self.normalise = nn.LayerNorm(config.embedding_dim)

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        return self.normalise(self.head(self.blocks(self.stem(pixels))).float())


class ObservationEncoder(nn.Module):
    """All cameras of one tick → one embedding (B, E), E = cameras x embedding_dim, in the order of the spec."""

    def __init__(self, cameras: Sequence[CameraSpec], config: EncoderConfig) -> None:
        super().__init__()
        self.camera_names = tuple(camera.name for camera in cameras)
        self.encoders = nn.ModuleList([CameraEncoder(camera.height, camera.width, config) for camera in cameras])
        self.embedding_dim = config.embedding_dim * len(cameras)

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([e(images[name]) for name, e in zip(self.camera_names, self.encoders, strict=True)], dim=-1)
