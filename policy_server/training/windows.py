"""Training windows out of recorded episodes: many at once, by the very windowing that the robot runs (runtime/windows.py)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.clock import NS_PER_S
from policy_server.runtime.manifest import PolicySpec
from policy_server.training.episodes import Episodes


@dataclass(frozen=True)
class Windows:
    """A batch of B windows of T observations.

    Attributes:
        ticks: int64 (B, T), the tick of each context row, oldest first.
        ages_s: float32 (B, T).
        actions: float32 (B, H, A), past first.
    """

    ticks: NDArray[np.int64]
    ages_s: NDArray[np.float32]
    actions: NDArray[np.float32]


def lay_out(episodes: Episodes, spec: PolicySpec) -> NDArray[np.int64]:
    """Every tick's stamp on one timeline, int64 ns (N,), ascending, with more than a context's length between two episodes.

    On it one search finds the rows of all windows of a batch.
    """
    starts = episodes.starts[:-1]
    durations_ns = episodes.stamps_ns[episodes.starts[1:] - 1] - episodes.stamps_ns[starts]
    gap_ns = (spec.history.offsets_ticks[0] + 2) * spec.period_ns
    begins_ns = np.concatenate([[0], np.cumsum(durations_ns + gap_ns)[:-1]])
    return episodes.stamps_ns + np.repeat(begins_ns - episodes.stamps_ns[starts], np.diff(episodes.starts))


def gather_windows(
    episodes: Episodes,
    timeline_ns: NDArray[np.int64],
    spec: PolicySpec,
    newest: NDArray[np.int64],
    length: int | None = None,
) -> Windows:
    """The windows whose newest observations are the ticks ``newest`` (B,), with the ``length`` newest slots (None: all).

    Chooses what ``select_context`` and ``action_ticks`` choose, episode by episode.
    """
    offsets = np.asarray(spec.history.offsets_ticks[-length if length else None :], np.int64)
    episode = episodes.episode_of(newest)
    first, last = episodes.starts[episode][:, None], episodes.starts[episode + 1][:, None] - 1
    now_ns, offsets_ns = timeline_ns[newest][:, None], offsets * spec.period_ns
    slots_ns = now_ns - offsets_ns
    found = np.searchsorted(timeline_ns, slots_ns + spec.period_ns // 2, side="right") - 1
    ticks = np.clip(found, first, newest[:, None])
    padded = (found < first) | (slots_ns < timeline_ns[first])
    ages_ns = np.where(padded, offsets_ns, now_ns - timeline_ns[ticks])
    chunk = newest[:, None] + np.arange(-spec.action.past_steps, spec.action.future_steps)
    actions = episodes.actions[np.clip(chunk, first, last)]
    return Windows(ticks, (ages_ns / NS_PER_S).astype(np.float32), actions)


def draw_newest(
    episodes: Episodes, windows: int, windows_per_episode: int, stride_ticks: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Random ticks (windows,); those of one episode lie whole strides apart, so that their contexts share frames.

    Every tick is drawn with a chance that depends on its episode's length alone.
    """
    episode = generator.integers(len(episodes), size=windows // windows_per_episode)
    start = episodes.starts[episode]
    length = episodes.starts[episode + 1] - start
    phase = generator.integers(np.minimum(stride_ticks, length))
    strides = (length - phase + stride_ticks - 1) // stride_ticks
    chosen = generator.integers(strides[:, None], size=(len(episode), windows_per_episode))
    return (start[:, None] + phase[:, None] + stride_ticks * chosen).ravel()


def chunk_extremes(episodes: Episodes, spec: PolicySpec, relative: bool) -> NDArray[np.float32]:
    """The least and the greatest action in each row of any tick's chunk, float32 (2, H, A), rad and m.

    Args:
        relative: actions are measured from the joints at the chunk's tick.
    """
    ticks = np.arange(len(episodes.actions))
    lengths = np.diff(episodes.starts)
    first, last = np.repeat(episodes.starts[:-1], lengths), np.repeat(episodes.starts[1:] - 1, lengths)
    columns = [spec.proprioception_joints.index(joint) for joint in spec.action.joints] if relative else []
    anchor = episodes.states[:, columns] if relative else np.zeros_like(episodes.actions)
    rows = []
    for step in range(-spec.action.past_steps, spec.action.future_steps):
        distances = episodes.actions[np.clip(ticks + step, first, last)] - anchor
        rows.append([distances.min(0), distances.max(0)])
    return np.stack(rows, axis=1, dtype=np.float32)
