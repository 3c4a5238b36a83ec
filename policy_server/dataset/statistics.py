"""Statistics of an episode's columns: mergeable, and cached beside the dataset with the checksums they belong to."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime import configuration
from policy_server.runtime.errors import ConfigurationError, DatasetError
from policy_server.runtime.recording import EpisodeInfo, check_episode, read_episode_info
from policy_server.runtime.whole_file import write_whole

STATISTICS_FILE = "statistics.json"
STATISTICS_SCHEMA = 1


@dataclass(frozen=True)
class Moments:
    """What ``count`` rows of C columns amount to.

    Attributes:
        minimum, maximum, mean: one number per column, in the column's unit.
        squares: sum of squared deviations from the mean, per column.
    """

    count: int
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    mean: tuple[float, ...]
    squares: tuple[float, ...]

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each column (of the rows themselves, not an estimate beyond them)."""
        return tuple(float(np.sqrt(squares / self.count)) for squares in self.squares)


@dataclass(frozen=True)
class EpisodeStatistics:
    """One episode's columns, and the sha256 of the files that they were computed from."""

    files: dict[str, str]
    joints: Moments
    actions: Moments
    features: Moments


@dataclass(frozen=True)
class _Cache:
    schema: int
    episodes: dict[str, EpisodeStatistics]


def moments_of(values: NDArray[np.float32]) -> Moments:
    """The moments of float (N, C) with N ≥ 1, computed in float64."""
    rows = np.asarray(values, np.float64)
    mean = rows.mean(axis=0)
    return Moments(
        len(rows),
        _floats(rows.min(axis=0)),
        _floats(rows.max(axis=0)),
        _floats(mean),
        _floats(((rows - mean) ** 2).sum(axis=0)),
    )


def merge(parts: Sequence[Moments]) -> Moments:
    """The moments of all rows together, as if they had been given at once (Chan, Golub, LeVeque 1983)."""
    counts = np.array([part.count for part in parts], np.float64)[:, None]
    means = np.array([part.mean for part in parts])
    mean = (counts * means).sum(axis=0) / counts.sum()
    squares = np.array([part.squares for part in parts]).sum(axis=0) + (counts * (means - mean) ** 2).sum(axis=0)
    minimum = np.array([part.minimum for part in parts]).min(axis=0)
    maximum = np.array([part.maximum for part in parts]).max(axis=0)
    return Moments(int(counts.sum()), _floats(minimum), _floats(maximum), _floats(mean), _floats(squares))


def episode_statistics(
    dataset: Path,
    names: Sequence[str],
    on_damage: Callable[[str, DatasetError], None],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, EpisodeStatistics]:
    """Statistics of the episodes ``names``; only those whose checksums are not in the cache are read and checked.

    Args:
        on_damage: told of each damaged episode, which is then left out.
        on_progress: told how many are done, and of how many.
    """
    cached = _read_cache(dataset)
    found: dict[str, EpisodeStatistics] = {}
    for done, name in enumerate(names, 1):
        try:
            found[name] = _of_episode(dataset, read_episode_info(dataset, name), cached.get(name))
        except DatasetError as error:
            on_damage(name, error)
        on_progress(done, len(names))
    if found != cached:
        _write_cache(dataset, found)
    return found


def _of_episode(dataset: Path, info: EpisodeInfo, known: EpisodeStatistics | None) -> EpisodeStatistics:
    files = {file: checksum for file, checksum in info.files.items() if not file.startswith("image_")}
    if known is not None and known.files == files:
        return known
    arrays = check_episode(dataset, info.name, images=False)
    return EpisodeStatistics(files, moments_of(arrays.joints), moments_of(arrays.actions), moments_of(arrays.features))


def _read_cache(dataset: Path) -> dict[str, EpisodeStatistics]:
    """What was computed before; a cache that is missing, damaged or of another schema is made again."""
    file = dataset / STATISTICS_FILE
    try:
        cache = configuration.build(_Cache, json.loads(file.read_text(encoding="utf-8")), str(file))
    except (OSError, ValueError, ConfigurationError):
        return {}
    return cache.episodes if cache.schema == STATISTICS_SCHEMA else {}


def _write_cache(dataset: Path, episodes: dict[str, EpisodeStatistics]) -> None:
    values = configuration.to_plain(_Cache(STATISTICS_SCHEMA, episodes))
    write_json(dataset / STATISTICS_FILE, values, indent=None)


def write_json(file: Path, values: object, *, indent: int | None = 1) -> None:
    """Write whole or not at all. Raises DatasetError when the folder cannot be written."""
    try:
        write_whole(file, json.dumps(values, indent=indent) + "\n")
    except OSError as error:
        raise DatasetError(f"cannot write '{file}' ({error}): make its folder writable") from None


def _floats(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
