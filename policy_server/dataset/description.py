"""What a dataset holds, in numbers: ``description.json`` and the lines that ``describe`` prints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policy_server.dataset.statistics import EpisodeStatistics, Moments, episode_statistics, merge
from policy_server.runtime.errors import DatasetError
from policy_server.runtime.recording import (
    DatasetInfo,
    list_episodes,
    list_partial,
    read_dataset_info,
    read_episode_info,
)

DESCRIPTION_FILE = "description.json"
LENGTH_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class Column:
    """A joint or a feature over all ticks, in its own unit."""

    name: str
    minimum: float
    mean: float
    std: float
    maximum: float


@dataclass(frozen=True)
class Description:
    """A dataset in numbers; the damaged and the half-written episodes are named and not counted.

    Attributes:
        size_bytes: of the episodes counted here, pictures included.
        lengths: ticks of each episode, by name.
        length_quantiles: share of the episodes → ticks that they do not exceed.
        damaged: name → what is wrong with it.
    """

    info: DatasetInfo
    episodes: int
    ticks: int
    hours: float
    successes: int
    size_bytes: int
    lengths: dict[str, int]
    length_mean: float
    length_quantiles: dict[str, float]
    joints: tuple[Column, ...]
    actions: tuple[Column, ...]
    features: tuple[Column, ...]
    half_written: tuple[str, ...]
    damaged: dict[str, str]


def describe(dataset: Path, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Description:
    """Read what is not in the cache and add everything up. Raises DatasetError when no episode is whole."""
    info = read_dataset_info(dataset)
    damaged: dict[str, str] = {}

    def on_damage(name: str, error: DatasetError) -> None:
        damaged[name] = str(error)

    found = episode_statistics(dataset, list_episodes(dataset), on_damage, on_progress)
    if not found:
        raise DatasetError(f"no whole episode in '{dataset}': collect or import some first")
    return _add_up(dataset, info, found, damaged)


def _add_up(
    dataset: Path, info: DatasetInfo, found: dict[str, EpisodeStatistics], damaged: dict[str, str]
) -> Description:
    episodes = [read_episode_info(dataset, name) for name in found]
    lengths = {episode.name: episode.ticks for episode in episodes}
    ticks = np.array(list(lengths.values()))
    quantiles = np.quantile(ticks, LENGTH_QUANTILES)
    return Description(
        info=info,
        episodes=len(episodes),
        ticks=int(ticks.sum()),
        hours=float(ticks.sum() / info.rate_hz / 3600),
        successes=sum(episode.success for episode in episodes),
        size_bytes=sum(size_of(dataset / name) for name in found),
        lengths=lengths,
        length_mean=float(ticks.mean()),
        length_quantiles={
            f"{share:.0%}": float(value) for share, value in zip(LENGTH_QUANTILES, quantiles, strict=True)
        },
        joints=_columns(info.proprioception_joints, [part.joints for part in found.values()]),
        actions=_columns(info.action_joints, [part.actions for part in found.values()]),
        features=_columns(info.features, [part.features for part in found.values()]),
        half_written=tuple(list_partial(dataset)),
        damaged=damaged,
    )


def size_of(folder: Path) -> int:
    """Bytes of all files below ``folder``."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def lines(description: Description) -> list[str]:
    """What a person reads first."""
    info, counted = description.info, description
    cameras = ", ".join(f"{camera.name} {camera.width}x{camera.height}" for camera in info.cameras) or "none"
    length = counted.length_quantiles
    return [
        f"task       {info.task}, {info.rate_hz:g} Hz, schema {info.schema}",
        f"episodes   {counted.episodes} ({counted.successes} successful), {counted.ticks} ticks, {counted.hours:.2f} h",
        f"length     {length['0%']:.0f} to {length['100%']:.0f} ticks, median {length['50%']:.0f}, "
        f"mean {counted.length_mean:.1f}",
        f"cameras    {cameras}",
        f"size       {counted.size_bytes / 1e6:.1f} MB",
        *_table("joint (rad, m)", counted.joints),
        *_table("action (rad, m)", counted.actions),
        *_table("feature", counted.features),
    ]


def _table(title: str, columns: Sequence[Column]) -> list[str]:
    if not columns:
        return []
    width = max(len(title), *(len(column.name) for column in columns))
    head = f"{title:{width}}  {'min':>9}  {'mean':>9}  {'std':>9}  {'max':>9}"
    rows = [
        f"{column.name:{width}}  {column.minimum:9.4f}  {column.mean:9.4f}  {column.std:9.4f}  {column.maximum:9.4f}"
        for column in columns
    ]
    return ["", head, *rows]


def _columns(names: Sequence[str], parts: Sequence[Moments]) -> tuple[Column, ...]:
    if not names:
        return ()
    whole = merge(parts)
    return tuple(map(Column, names, whole.minimum, whole.mean, whole.std, whole.maximum))
