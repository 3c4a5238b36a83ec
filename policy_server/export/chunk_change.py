"""What a lower precision changes: the chunks of two bundles over recorded episodes, each with a memory of its own."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from policy_server.runtime.actor import draw_noise
from policy_server.runtime.bundle import Bundle
from policy_server.runtime.engine import Denoiser
from policy_server.runtime.errors import DatasetError, PolicyError
from policy_server.runtime.manifest import PolicySpec, Precision
from policy_server.runtime.memory import Memory
from policy_server.runtime.observation import Observation
from policy_server.runtime.recording import EpisodeArrays, list_episodes, read_episode

_EPISODES = 4
_EVERY_TICKS = 5


@dataclass(frozen=True)
class ChunkChange:
    """How far chunks lie from those of float32 with the same noise, over the contexts of recorded episodes; rad, and m for a finger.

    ``largest``: of all numbers; ``rms``: over all; ``samples``: chunks compared.
    """

    largest: float
    rms: float
    samples: int


class PrecisionError(PolicyError):
    """Networks of a lower precision answer with numbers that are not finite."""


def provider_for(precision: Precision) -> str:
    """Where such a bundle is measured: float16 on a GPU where there is a provider for one, since a CPU computes it in float32."""
    has_gpu = "CUDAExecutionProvider" in ort.get_available_providers()
    return "cuda" if precision == "float16" and has_gpu else "cpu"


def measure_change(reference: Bundle, other: Bundle, dataset: Path, provider: str = "cpu") -> ChunkChange:
    """Run both over the same recorded episodes, each with a memory of its own.

    ``provider``: where the other one runs; the reference runs on a CPU.

    Raises:
        DatasetError: the dataset cannot be read, has no episode, or chunks of the reference are not finite over it.
        PrecisionError: chunks of the other one are not finite.
    """
    names = list_episodes(dataset)[:_EPISODES]
    if not names:
        raise DatasetError(f"'{dataset}' has no whole episode: collect some, or name another dataset")
    differences = np.concatenate([_difference(reference, other, dataset, name, provider) for name in names])
    return ChunkChange(
        float(np.abs(differences).max()), float(np.sqrt(np.square(differences).mean())), len(differences)
    )


def _difference(reference: Bundle, other: Bundle, dataset: Path, name: str, provider: str) -> NDArray[np.float32]:
    expected = _chunks(reference, dataset, name, "cpu")
    if not np.isfinite(expected).all():
        raise DatasetError(
            f"over episode '{name}' of '{dataset}' bundle '{reference.path}' answers numbers that are not finite: check the dataset "
            "(python -m policy_server.dataset verify DATASET), or train again"
        )
    found = _chunks(other, dataset, name, provider)
    if not np.isfinite(found).all():
        precision = other.manifest.precision
        raise PrecisionError(
            f"with {precision} weights bundle '{reference.path}' answers numbers that are not finite over episode '{name}' of "
            f"'{dataset}': keep its float32, or choose another --precision"
        )
    return found - expected


def _chunks(bundle: Bundle, dataset: Path, name: str, provider: str) -> NDArray[np.float32]:
    """What a policy answers now and then in a recorded episode, float32 (N, H, A)."""
    spec, episode = bundle.spec, read_episode(dataset, name, images=bool(bundle.spec.cameras))
    memory = Memory(bundle, provider=provider, max_gap_ns=10 * spec.period_ns)
    denoiser = Denoiser(bundle, provider=provider)
    chunks = []
    for tick, stamp_ns in enumerate(episode.stamps_ns):
        context = memory.observe(Observation(int(stamp_ns), _images(episode, spec, tick), _state(episode, spec, tick)))
        if tick % _EVERY_TICKS == 0:
            chunks.append(denoiser.sample(context.rows, draw_noise(0, tick, denoiser.chunk_shape)))
    return np.stack(chunks)


def _images(episode: EpisodeArrays, spec: PolicySpec, tick: int) -> dict[str, NDArray[np.uint8]]:
    return {camera.name: episode.images[camera.name][tick] for camera in spec.cameras}


def _state(episode: EpisodeArrays, spec: PolicySpec, tick: int) -> NDArray[np.float32]:
    return np.concatenate([episode.joints[tick], episode.features[tick]]) if spec.features else episode.joints[tick]
