"""What a lower precision changes: the chunks of two bundles over recorded episodes, each with a memory of its own."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.actor import draw_noise
from policy_server.runtime.bundle import Bundle
from policy_server.runtime.engine import Denoiser
from policy_server.runtime.manifest import PolicySpec
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


def measure_change(reference: Bundle, other: Bundle, dataset: Path) -> ChunkChange:
    """Run both over the same recorded episodes, each with a memory of its own. Raises DatasetError for one that cannot be read."""
    differences = np.concatenate(
        [
            _chunks(other, dataset, name) - _chunks(reference, dataset, name)
            for name in list_episodes(dataset)[:_EPISODES]
        ]
    )
    return ChunkChange(
        float(np.abs(differences).max()), float(np.sqrt(np.square(differences).mean())), len(differences)
    )


def _chunks(bundle: Bundle, dataset: Path, name: str) -> NDArray[np.float32]:
    """What a policy answers now and then in a recorded episode, float32 (N, H, A)."""
    spec, episode = bundle.spec, read_episode(dataset, name, images=bool(bundle.spec.cameras))
    memory, denoiser = Memory(bundle, max_gap_ns=10 * spec.period_ns), Denoiser(bundle)
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
