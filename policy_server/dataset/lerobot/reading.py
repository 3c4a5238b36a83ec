"""Episodes out of a LeRobot v3 dataset: where each lies, and its columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from policy_server.dataset.lerobot.layout import (
    EPISODE_FACTS,
    EPISODES_FOLDER,
    TASKS_FILE,
    LeRobotError,
    LeRobotInfo,
    file_in,
)
from policy_server.dataset.video import read_frames


@dataclass(frozen=True)
class Entry:
    """One row of the table of episodes.

    Attributes:
        videos: feature → the MP4 that holds the episode and the time in it at which the episode begins, s.
        facts: what an export of ours says beside LeRobot's columns; empty for other datasets.
    """

    index: int
    length: int
    data_file: Path
    videos: dict[str, tuple[Path, float]]
    facts: dict[str, Any]


def read_entries(root: Path, info: LeRobotInfo) -> list[Entry]:
    """All episodes in order. Raises LeRobotError when the table is missing, damaged, or has gaps."""
    files = sorted((root / EPISODES_FOLDER).glob("*/*.parquet"))
    if not files:
        raise LeRobotError(f"no table of episodes in '{root / EPISODES_FOLDER}': the dataset is not whole")
    rows = [row for file in files for row in _read(file, _but_statistics(file)).to_pylist()]
    try:
        entries = sorted((_entry(root, info, row) for row in rows), key=lambda entry: entry.index)
    except (KeyError, TypeError, ValueError) as error:
        raise LeRobotError(f"the table of episodes in '{root}' lacks or spoils {error}: download it again") from None
    if [entry.index for entry in entries] != list(range(info.episodes)):
        raise LeRobotError(f"'{root}' states {info.episodes} episodes, its table of episodes holds {len(entries)}")
    return entries


def read_tasks(root: Path) -> list[str]:
    """The task texts, by task_index."""
    rows = _read(root / TASKS_FILE, None).to_pylist()
    try:
        # pandas calls an index without a name __index_level_0__
        texts = {int(row["task_index"]): str(row.get("task", row.get("__index_level_0__"))) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise LeRobotError(f"'{root / TASKS_FILE}' cannot be read ({error}): download it again") from None
    return [texts[index] for index in sorted(texts)]


def read_columns(entry: Entry, keys: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The episode's rows of these features, (N,) or (N, C).

    Raises:
        LeRobotError: the file is missing or damaged, lacks a column, or does not hold the episode's frames in order.
    """
    table = _table(entry.data_file, _changed_ns(entry.data_file), ("episode_index", "frame_index", *keys))
    first = int(np.searchsorted(table.column("episode_index").to_numpy(), entry.index))
    rows = table.slice(first, entry.length)
    frames, owner = rows.column("frame_index").to_numpy(), rows.column("episode_index").to_numpy()
    if not np.array_equal(frames, np.arange(entry.length)) or (owner != entry.index).any():
        raise LeRobotError(
            f"episode {entry.index}: '{entry.data_file}' does not hold its {entry.length} frames in order: download it again"
        )
    return {key: _array(entry, key, rows.column(key)) for key in keys}


def read_pictures(entry: Entry, key: str, rate_hz: float) -> Iterator[NDArray[np.uint8]]:
    """The episode's pictures of a camera in order, uint8 (height, width, 3) RGB, from its MP4 or its data file.

    Raises:
        LeRobotError, VideoError: a picture is missing or damaged.
    """
    if key in entry.videos:
        file, start_s = entry.videos[key]
        yield from read_frames(file, start_s, entry.length, rate_hz)
        return
    stored = _read(entry.data_file, [key], [("episode_index", "=", entry.index)]).column(key).to_pylist()
    if len(stored) != entry.length:
        raise LeRobotError(f"episode {entry.index}: '{entry.data_file}' holds {len(stored)} pictures of '{key}'")
    for number, picture in enumerate(stored):
        yield _decode(entry, key, number, picture)


def _entry(root: Path, info: LeRobotInfo, row: dict[str, Any]) -> Entry:
    place = {"chunk_index": int(row["data/chunk_index"]), "file_index": int(row["data/file_index"])}
    videos = {}
    for key in (key for key, feature in info.features.items() if feature.dtype == "video"):
        prefix = f"videos/{key}"
        numbers = {name: int(row[f"{prefix}/{name}"]) for name in ("chunk_index", "file_index")}
        file = file_in(root, info.video_path, video_key=key, **numbers)
        videos[key] = file, float(row[f"{prefix}/from_timestamp"])
    facts = {name: row[name] for name in EPISODE_FACTS if row.get(name) is not None}
    return Entry(int(row["episode_index"]), int(row["length"]), file_in(root, info.data_path, **place), videos, facts)


def _but_statistics(file: Path) -> list[str]:
    return [name for name in _schema(file).names if not name.startswith("stats/")]


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from None


def _read(file: Path, columns: list[str] | None, filters: list[tuple[str, str, int]] | None = None) -> pa.Table:
    if not file.is_file():
        raise LeRobotError(f"no file '{file}': the dataset is not whole; download or export it again")
    missing = [name for name in columns or () if name not in _schema(file).names]
    if missing:
        raise LeRobotError(f"'{file}' has no column '{missing[0]}': download or export it again")
    try:
        return pq.read_table(file, columns=columns, filters=filters, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from None


# One file holds many episodes, and they are read in order.
@lru_cache(maxsize=2)
def _table(file: Path, changed_ns: int, columns: tuple[str, ...]) -> pa.Table:
    return _read(file, list(columns)).sort_by([("episode_index", "ascending"), ("frame_index", "ascending")])


def _changed_ns(file: Path) -> int:
    return file.stat().st_mtime_ns if file.is_file() else 0


def _array(entry: Entry, key: str, column: pa.ChunkedArray) -> NDArray[Any]:
    values = column.combine_chunks()
    is_list = pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type)
    flat = values.flatten() if is_list else values
    if values.null_count or flat.null_count or (entry.length and len(flat) % entry.length):
        raise LeRobotError(f"episode {entry.index}: '{key}' in '{entry.data_file}' has gaps: download it again")
    numbers: NDArray[Any] = flat.to_numpy(zero_copy_only=False)
    return numbers.reshape(entry.length, -1) if is_list else numbers


def _decode(entry: Entry, key: str, number: int, stored: Any) -> NDArray[np.uint8]:
    """PNG or JPEG as LeRobot embeds them: {"bytes": ..., "path": ...}."""
    data = stored.get("bytes") if isinstance(stored, dict) else None
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if picture is None:
        raise LeRobotError(
            f"episode {entry.index}: picture {number} of '{key}' in '{entry.data_file}' cannot be decoded"
        )
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _damaged(file: Path, error: Exception) -> LeRobotError:
    return LeRobotError(f"'{file}' cannot be read ({' '.join(str(error).split())}): download or export it again")
