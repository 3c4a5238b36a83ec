"""The recorded episodes of a training run: scalars in memory, pictures and embeddings left on disk."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.errors import ConfigurationError, DatasetError
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.recording import (
    EpisodeArrays,
    EpisodeInfo,
    check_episode,
    list_episodes,
    list_partial,
    read_episode_info,
)
from policy_server.training.frames import StoredFrames, open_frames, write_frames

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Episodes:
    """All episodes end to end; episode i occupies ticks ``starts[i]`` to ``starts[i + 1]``.

    Attributes:
        starts: int64 (episodes + 1,).
        stamps_ns: int64 (N,).
        states: float32 (N, S), the joints in rad and m, then the features that the policy reads.
        actions: float32 (N, A), rad and m.
        images: camera → the pictures of all ticks as the encoder takes them, uint8; ``images[camera][ticks]`` reads some.
        fingerprint: changes with the episodes, their order and their content.
    """

    starts: NDArray[np.int64]
    stamps_ns: NDArray[np.int64]
    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    images: Mapping[str, StoredFrames]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.starts) - 1

    def episode_of(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        """The episode that each tick belongs to."""
        return np.searchsorted(self.starts, ticks, side="right") - 1


def load_episodes(
    dataset: Path,
    spec: PolicySpec,
    *,
    limit: int = 0,
    on_damage: Callable[[DatasetError], None] | None = None,
    on_progress: Progress = lambda what, done, total: None,
) -> Episodes:
    """Read and check the first ``limit`` episodes (0: all); pictures that are not yet stored for this view are stored now.

    Args:
        on_damage: told of each damaged or half-written episode, which is then left out. Without it the first one is an error.
        on_progress: told what is being done, how many are done, and of how many.

    Raises:
        DatasetError: no episode, or a damaged one.
        ConfigurationError: fewer episodes than ``limit``.
    """
    names, half_written = _chosen(dataset, limit)
    damaged = _Damage(on_damage)
    for name in half_written:
        damaged.add(
            DatasetError(f"episode '{name}' of '{dataset}' is half-written: collect again, or delete its folder")
        )
    whole: dict[str, tuple[EpisodeInfo, EpisodeArrays]] = {}
    for done, name in enumerate(names, 1):
        try:
            whole[name] = read_episode_info(dataset, name), check_episode(dataset, name, images=False)
        except DatasetError as error:
            damaged.add(error)
        on_progress("reading episodes", done, len(names))
    for camera in spec.cameras:
        infos = [info for info, _ in whole.values()]
        report = _named(on_progress, f"preparing pictures of {camera.name}")
        for name, fault in write_frames(dataset, camera, infos, report).items():
            damaged.add(fault)
            del whole[name]
    if not whole:
        raise DatasetError(f"no whole episode in '{dataset}': run python -m sim_bridge.collect first")
    return _joined(dataset, spec, list(whole.values()))


class _Damage:
    """Reports damaged episodes, or raises the first."""

    def __init__(self, report: Callable[[DatasetError], None] | None) -> None:
        self._report = report

    def add(self, error: DatasetError) -> None:
        if self._report is None:
            raise DatasetError(f"{error}; or set damaged_episodes=skip") from None
        self._report(error)


def _chosen(dataset: Path, limit: int) -> tuple[list[str], list[str]]:
    """The first ``limit`` names of the dataset: whole episodes, and half-written ones, so that they are noticed."""
    half_written = set(list_partial(dataset))
    names = sorted({*list_episodes(dataset), *half_written})
    if not names:
        raise DatasetError(f"no episode in '{dataset}': run python -m sim_bridge.collect first")
    if limit > len(names):
        raise ConfigurationError(f"episodes={limit}: '{dataset}' has {len(names)}; collect more or ask for fewer")
    chosen = names[: limit or None]
    return [name for name in chosen if name not in half_written], [name for name in chosen if name in half_written]


def _joined(dataset: Path, spec: PolicySpec, whole: Sequence[tuple[EpisodeInfo, EpisodeArrays]]) -> Episodes:
    infos = [info for info, _ in whole]
    joints = np.concatenate([arrays.joints for _, arrays in whole])
    features = np.concatenate([arrays.features for _, arrays in whole])
    states = np.concatenate([joints, features], axis=1) if spec.features else joints
    return Episodes(
        starts=np.cumsum([0, *(info.ticks for info in infos)]),
        stamps_ns=np.concatenate([arrays.stamps_ns for _, arrays in whole]),
        states=states,
        actions=np.concatenate([arrays.actions for _, arrays in whole]),
        images={camera.name: open_frames(dataset, camera, infos) for camera in spec.cameras},
        fingerprint=_fingerprint(infos),
    )


def _fingerprint(infos: Sequence[EpisodeInfo]) -> str:
    digest = hashlib.sha256()
    for info in infos:
        digest.update(repr((info.name, sorted(info.files.items()))).encode())
    return digest.hexdigest()


def _named(on_progress: Progress, what: str) -> Callable[[int, int], None]:
    return lambda done, total: on_progress(what, done, total)
