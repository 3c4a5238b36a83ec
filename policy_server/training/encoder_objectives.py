"""What an image encoder can learn from recorded pictures alone: latent dynamics, or to give the pictures back."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from policy_server.model.encoder import ObservationEncoder


@dataclass(frozen=True)
class DynamicsConfig:
    """Latent dynamics in the spirit of DynaMo (arXiv 2409.12192).

    Windows of ``window`` ticks, ``stride_ticks`` apart; latent actions of ``latent_dim``; both models are transformers of
    ``layers`` layers, ``width`` wide. ``target_decay``: moving average that makes the target encoder.
    ``covariance_weight`` and ``variance_weight``: weights of the regularisers that keep the embedding's columns from saying the
    same, and from fading (VICReg, arXiv 2105.04906). DynaMo has the first alone; here that shrank the embedding to a quarter in
    300 steps, since a smaller embedding covaries less.
    """

    window: int = 5
    stride_ticks: int = 2
    latent_dim: int = 16
    width: int = 128
    layers: int = 2
    heads: int = 4
    target_decay: float = 0.99
    covariance_weight: float = 0.04
    variance_weight: float = 0.1


@dataclass(frozen=True)
class ReconstructionConfig:
    """Autoencoder: a decoder per camera, ``widths`` channels from the smallest map on, each layer doubles the picture.

    ``difference_weight``: a pixel weighs 1 plus this times its distance (0 to 2) from the dataset's mean picture, so that a small
    lamp counts beside a large table.
    """

    widths: tuple[int, ...] = (64, 32, 16)
    difference_weight: float = 20.0


class DynamicsObjective(nn.Module):
    """Predict the next embedding from the previous ones and the latent actions that an inverse model reads off the window.

    The target is the embedding of a moving average of the encoder, without gradient. Without that, and without the regularisers,
    one embedding for all pictures would be the perfect answer.
    """

    def __init__(self, encoder: ObservationEncoder, config: DynamicsConfig) -> None:
        super().__init__()
        embedding, width = encoder.embedding_dim, config.width
        self.config = config
        self.encoder = encoder
        self.target = copy.deepcopy(encoder).requires_grad_(False)
        sizes = (config.window, width, config.layers, config.heads)
        self.inverse_model = SequenceModel(embedding, config.latent_dim, *sizes, causal=False)
        self.forward_model = SequenceModel(embedding + config.latent_dim, embedding, *sizes, causal=True)

    def loss(self, seen: Mapping[str, Tensor], clean: Mapping[str, Tensor]) -> Tensor:
        """Camera → (B, window, height, width, 3); cosine distance of prediction and target, plus the regularisers.

        Both encoders get the pictures as ``seen``, augmented: what the augmentation changes is the same all through a window.
        """
        embeddings = encode_windows(self.encoder, seen)
        with torch.no_grad():
            targets = encode_windows(self.target, seen)[:, 1:]
        latent_actions = self.inverse_model(embeddings)[:, 1:]
        predicted = self.forward_model(torch.cat([embeddings[:, :-1], latent_actions], dim=-1))
        distance = 1 - functional.cosine_similarity(predicted.float(), targets.float(), dim=-1).mean()
        rows = embeddings.flatten(0, 1)
        return (
            distance
            + self.config.covariance_weight * covariance_term(rows)
            + self.config.variance_weight * variance_term(rows)
        )

    def after_step(self) -> None:
        """Move the target encoder a little towards the encoder."""
        with torch.no_grad():
            for target, value in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
                target.lerp_(value, 1 - self.config.target_decay)


class ReconstructionObjective(nn.Module):
    """Give every camera's picture back from its part of the embedding, as a difference from the dataset's mean picture."""

    def __init__(
        self, encoder: ObservationEncoder, mean_images: Mapping[str, Tensor], config: ReconstructionConfig
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.camera_width = encoder.embedding_dim // len(encoder.camera_names)
        self.decoders = nn.ModuleDict()
        for name in encoder.camera_names:
            height, width = mean_images[name].shape[:2]
            self.decoders[name] = PictureDecoder(self.camera_width, height, width, config.widths)
            self.register_buffer(f"mean_{name}", _scaled(mean_images[name]))

    def loss(self, seen: Mapping[str, Tensor], clean: Mapping[str, Tensor]) -> Tensor:
        """Camera → (B, window, height, width, 3); weighted mean squared error of the pixels in [-1, 1], mean over cameras.

        The encoder gets the pictures as ``seen``, augmented, and has to give back the ``clean`` ones.
        """
        embeddings = encode_windows(self.encoder, seen).flatten(0, 1).split(self.camera_width, dim=-1)
        errors = []
        for name, embedding in zip(self.encoder.camera_names, embeddings, strict=True):
            difference = _scaled(clean[name].flatten(0, 1)) - self.get_buffer(f"mean_{name}")
            weights = 1 + self.config.difference_weight * difference.abs().mean(dim=1, keepdim=True)
            squared = (self.decoders[name](embedding).float() - difference).square()
            errors.append((weights * squared).mean() / weights.mean())
        return torch.stack(errors).mean()

    def after_step(self) -> None:
        """Nothing follows an optimizer step."""


class SequenceModel(nn.Module):
    """A small transformer over the ticks of a window: (B, ticks, width_in) → (B, ticks, width_out)."""

    def __init__(
        self, width_in: int, width_out: int, window: int, width: int, layers: int, heads: int, *, causal: bool
    ) -> None:
        super().__init__()
        self.project_in = nn.Linear(width_in, width)
        self.positions = nn.Parameter(torch.zeros(window, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.project_out = nn.Linear(width, width_out)
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        ticks = x.shape[1]
        mask = torch.ones(ticks, ticks, dtype=torch.bool, device=x.device).triu(1) if self.causal else None
        return self.project_out(self.layers(self.project_in(x) + self.positions[:ticks], mask=mask))


class PictureDecoder(nn.Module):
    """Embedding (B, width) → picture (B, 3, height, width); transposed convolutions, each doubling the size."""

    def __init__(self, embedding_dim: int, height: int, width: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.size = (height, width)
        shrink = 2 ** len(widths)
        self.smallest = (widths[0], -(-height // shrink), -(-width // shrink))
        self.project = nn.Linear(embedding_dim, self.smallest[0] * self.smallest[1] * self.smallest[2])
        layers: list[nn.Module] = []
        for channels_in, channels_out in zip(widths, (*widths[1:], 3), strict=True):
            layers += [nn.ReLU(), nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, embedding: Tensor) -> Tensor:
        picture = self.layers(self.project(embedding).unflatten(1, self.smallest))
        return picture[..., : self.size[0], : self.size[1]]


def encode_windows(encoder: ObservationEncoder, images: Mapping[str, Tensor]) -> Tensor:
    """Camera → pictures (B, ticks, height, width, 3) of 0 to 255; returns embeddings (B, ticks, E)."""
    batch, ticks = next(iter(images.values())).shape[:2]
    return encoder({name: pictures.flatten(0, 1) for name, pictures in images.items()}).unflatten(0, (batch, ticks))


def covariance_term(embeddings: Tensor) -> Tensor:
    """Sum of the squared off-diagonal covariances of (N, E), divided by E (VICReg, arXiv 2105.04906, eq. 4)."""
    centred = (embeddings - embeddings.mean(0)).float()
    covariance = centred.T @ centred / (len(centred) - 1)
    off_diagonal = covariance - torch.diag(torch.diagonal(covariance))
    return off_diagonal.square().sum() / embeddings.shape[-1]


def variance_term(embeddings: Tensor) -> Tensor:
    """How far the columns' standard deviations over (N, E) are below 1, on average (VICReg, eq. 1)."""
    return functional.relu(1 - (embeddings.float().var(0) + 1e-4).sqrt()).mean()


def _scaled(pixels: Tensor) -> Tensor:
    """Pixels (..., H, W, 3) in 0 to 255 → float32 (..., 3, H, W) in [-1, 1]."""
    return pixels.movedim(-1, -3).float() / 127.5 - 1
