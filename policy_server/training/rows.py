"""Where context rows come from: the encoder, embeddings that were written once, or no pictures at all.

A window's row is [age in s, embedding (E), state (S)]. ``read_batch`` is the part that reads memory and disk, and runs ahead in a
thread of its own; ``context_rows`` is the part that computes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from policy_server.model.encoder import EncoderConfig
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime import configuration
from policy_server.runtime.bundle import sha256_of
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.manifest import PolicySpec
from policy_server.training.episodes import Episodes
from policy_server.training.windows import Windows

EMBEDDINGS_FOLDER = ".embeddings"
EMBEDDINGS_FILE = "embeddings.npy"


@dataclass(frozen=True)
class Batch:
    """B windows of T observations, ready to be trained on.

    Attributes:
        ages_s: float32 (B, T, 1).
        states: float32 (B, T, S).
        actions: float32 (B, H, A).
        weights: float32 (H,) or (B, H): which rows of the chunk are learned.
        visible: bool (B, T), or None when all rows are shown.
        embeddings: float16 (B, T, E) when they were written once, else None.
        images: camera → uint8 (F, height, width, 3), each distinct picture of the batch once; empty when none is to be encoded.
        slots: int64 (B, T), for every row its place among the F pictures.
        episode_of_image: int64 (F,), 0 for the pictures of the batch's first episode, and so on.
    """

    ages_s: Tensor
    states: Tensor
    actions: Tensor
    weights: Tensor
    visible: Tensor | None
    embeddings: Tensor | None
    images: Mapping[str, Tensor]
    slots: Tensor
    episode_of_image: Tensor

    def to(self, device: torch.device) -> "Batch":
        if device.type == "cpu":
            return self

        def moved(tensor: Tensor) -> Tensor:
            return tensor.pin_memory().to(device, non_blocking=True)

        tensors = {name: moved(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, images={name: moved(value) for name, value in self.images.items()}, **tensors)


def read_batch(
    episodes: Episodes,
    windows: Windows,
    weights: NDArray[np.float32],
    visible: NDArray[np.bool_] | None = None,
    embeddings: NDArray[np.float16] | None = None,
) -> Batch:
    """What ``windows`` need of the dataset. With ``embeddings`` (N, E) of all ticks no picture is read."""
    images: dict[str, Tensor] = {}
    slots: NDArray[np.int64] = np.zeros(0, np.int64)
    episode_of_image: NDArray[np.int64] = np.zeros(0, np.int64)
    if embeddings is None and episodes.images:
        ticks, slots = np.unique(windows.ticks, return_inverse=True)
        slots = slots.reshape(windows.ticks.shape)
        _, episode_of_image = np.unique(episodes.episode_of(ticks), return_inverse=True)
        images = {name: torch.from_numpy(frames[ticks]) for name, frames in episodes.images.items()}
    return Batch(
        ages_s=torch.from_numpy(windows.ages_s)[..., None],
        states=torch.from_numpy(episodes.states[windows.ticks]),
        actions=torch.from_numpy(windows.actions),
        weights=torch.from_numpy(weights),
        visible=None if visible is None else torch.from_numpy(visible),
        embeddings=None if embeddings is None else torch.from_numpy(embeddings[windows.ticks]),
        images=images,
        slots=torch.from_numpy(slots),
        episode_of_image=torch.from_numpy(episode_of_image),
    )


def context_rows(batch: Batch, encoded: Tensor | None) -> Tensor:
    """The context (B, T, 1 + E + S), float32; ``encoded`` float32 (F, E) holds the embeddings of the batch's pictures."""
    parts = [batch.ages_s, batch.states]
    if batch.embeddings is not None:
        parts.insert(1, batch.embeddings.float())
    elif encoded is not None:
        parts.insert(1, encoded[batch.slots])
    return torch.cat(parts, dim=-1)


def load_encoder_weights(policy: DiffusionPolicy, file: Path) -> None:
    """Put the weights of a safetensors file, the encoder's state dict, into the policy's encoder.

    Raises:
        ConfigurationError: the file is missing or no safetensors file, or is of an encoder of another form.
    """
    try:
        policy.encoder.load_state_dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(f"encoder.weights: cannot read '{file}' ({error}): give a safetensors file") from None
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ConfigurationError(
            f"encoder.weights: '{file}' is of another encoder ({reason}): give model.encoder and cameras as it was trained with"
        ) from None


def embedding_file(dataset: Path, spec: PolicySpec, encoder: EncoderConfig, weights: Path, episodes: Episodes) -> Path:
    """Where the embeddings of these episodes by this encoder lie: float16 (N, E), one row per tick in the order of ``episodes``.

    Other weights, views or episodes have another file.
    """
    networks = configuration.to_plain(encoder)
    if encoder.blocks_per_stage == 1:
        del networks["blocks_per_stage"]  # embeddings from before there was the choice keep their place
    facts = {
        "weights": sha256_of(weights),
        "encoder": networks,
        "cameras": configuration.to_plain(spec.cameras),
        "episodes": episodes.fingerprint,
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return dataset / EMBEDDINGS_FOLDER / key / EMBEDDINGS_FILE


def open_embeddings(file: Path, spec: PolicySpec, episodes: Episodes) -> NDArray[np.float16]:
    """The embeddings of all ticks, memory-mapped. Raises ConfigurationError when they have not been written."""
    if not file.is_file():
        raise ConfigurationError(
            f"encoder.mode=cached: no embeddings at '{file}'; write them with python -m policy_server.train_stages"
        )
    embeddings = np.load(file, mmap_mode="r", allow_pickle=False)
    expected = (len(episodes.stamps_ns), spec.history.embedding_dim)
    if embeddings.shape != expected or embeddings.dtype != np.float16:
        raise ConfigurationError(
            f"'{file}' holds {embeddings.dtype} {embeddings.shape}, not float16 {expected}: delete it and write it again"
        )
    return embeddings
