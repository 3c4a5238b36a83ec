"""Training windows out of recorded episodes, through the very windowing and preprocessing that the robot runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.errors import DatasetError
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.preprocessing import preprocess
from policy_server.runtime.recording import list_episodes, read_episode
from policy_server.runtime.windows import action_ticks, select_context


@dataclass(frozen=True)
class Episodes:
    """All episodes end to end; episode i occupies ticks ``starts[i]`` to ``starts[i + 1]``.

    Attributes:
        starts: int64 (episodes + 1,).
        stamps_ns: int64 (N,).
        joints: float32 (N, P), rad and m.
        actions: float32 (N, A), rad and m.
        images: camera → uint8 (N, height, width, 3), as the encoder takes them.
    """

    starts: NDArray[np.int64]
    stamps_ns: NDArray[np.int64]
    joints: NDArray[np.float32]
    actions: NDArray[np.float32]
    images: dict[str, NDArray[np.uint8]]

    def __len__(self) -> int:
        return len(self.starts) - 1


@dataclass(frozen=True)
class Windows:
    """A batch of B windows whose contexts share frames.

    Attributes:
        frames: int64 (F,), the distinct ticks that appear in any context: each is encoded once.
        slots: int64 (B, T), for every slot its place in ``frames``.
        ages_s: float32 (B, T).
        actions: float32 (B, H, A), past first.
    """

    frames: NDArray[np.int64]
    slots: NDArray[np.int64]
    ages_s: NDArray[np.float32]
    actions: NDArray[np.float32]


def load_episodes(
    dataset: Path, spec: PolicySpec, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Episodes:
    """Read and preprocess every whole episode into memory. Raises DatasetError when there is none."""
    names = list_episodes(dataset)
    if not names:
        raise DatasetError(f"no episode in '{dataset}': run python -m sim_bridge.collect first")
    stamps, joints, actions = [], [], []
    images: dict[str, list[NDArray[np.uint8]]] = {camera.name: [] for camera in spec.cameras}
    for done, name in enumerate(names):
        episode = read_episode(dataset, name)
        stamps.append(np.array(episode.stamps_ns))
        joints.append(np.array(episode.joints))
        actions.append(np.array(episode.actions))
        for camera in spec.cameras:
            images[camera.name].append(np.stack([preprocess(image, camera) for image in episode.images[camera.name]]))
        on_progress(done + 1, len(names))
    starts = np.cumsum([0, *map(len, stamps)])
    joined = {camera: np.concatenate(parts) for camera, parts in images.items()}
    return Episodes(starts, np.concatenate(stamps), np.concatenate(joints), np.concatenate(actions), joined)


def gather_windows(episodes: Episodes, spec: PolicySpec, picks: Sequence[tuple[int, int]]) -> Windows:
    """The windows at (episode, tick) pairs."""
    ticks, ages, actions = [], [], []
    for episode, tick in picks:
        start, end = episodes.starts[episode], episodes.starts[episode + 1]
        indices, ages_s = select_context(
            episodes.stamps_ns[start:end], tick, spec.history.offsets_ticks, spec.period_ns
        )
        ticks.append(start + indices)
        ages.append(ages_s)
        chunk = action_ticks(tick, spec.action.past_steps, spec.action.future_steps, int(end - start))
        actions.append(episodes.actions[start + chunk])
    frames, slots = np.unique(np.stack(ticks), return_inverse=True)
    return Windows(frames, slots.reshape(len(picks), -1), np.stack(ages), np.stack(actions))


def draw_picks(
    episodes: Episodes, windows: int, windows_per_episode: int, stride_ticks: int, generator: np.random.Generator
) -> list[tuple[int, int]]:
    """Random (episode, tick) pairs; those of one episode lie whole strides apart, so that their contexts share frames.

    Every tick is drawn with a chance that depends on its episode's length alone.
    """
    picks = []
    for _ in range(windows // windows_per_episode):
        episode = int(generator.integers(len(episodes)))
        length = int(episodes.starts[episode + 1] - episodes.starts[episode])
        in_phase = np.arange(generator.integers(min(stride_ticks, length)), length, stride_ticks)
        picks += [(episode, int(tick)) for tick in generator.choice(in_phase, windows_per_episode)]
    return picks


def chunk_distances(episodes: Episodes, spec: PolicySpec, columns: Sequence[int]) -> NDArray[np.float32]:
    """How far the actions of every tick's chunk lie from the joints at that tick (``columns`` of them), float32 (N x H, A)."""
    distances = []
    for start, end in zip(episodes.starts[:-1], episodes.starts[1:], strict=True):
        newest = np.arange(end - start)[:, None]
        steps = np.arange(-spec.action.past_steps, spec.action.future_steps)
        chunks = episodes.actions[start + np.clip(newest + steps, 0, end - start - 1)]
        distances.append(chunks - episodes.joints[start:end, None, list(columns)])
    return np.concatenate(distances).reshape(-1, episodes.actions.shape[1])
