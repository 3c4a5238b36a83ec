"""Our format → LeRobot v3: parquet and MP4, written beside the output and renamed when it is whole."""

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policy_server.dataset.lerobot.layout import ACTION, FEATURES, IMAGES, STAMP, STATE, LeRobotError
from policy_server.dataset.lerobot.metadata import Totals, write_metadata
from policy_server.dataset.lerobot.shards import DataShards, VideoSettings, VideoShards
from policy_server.dataset.lerobot.summaries import Summary, levels, summarise, summarise_levels
from policy_server.dataset.verification import all_episodes
from policy_server.dataset.video import encoder_of
from policy_server.runtime.errors import DatasetError
from policy_server.runtime.recording import (
    CameraShape,
    DatasetInfo,
    EpisodeArrays,
    EpisodeInfo,
    check_episode,
    read_dataset_info,
    read_episode_info,
)

_PARTIAL = ".partial"
_MB = 1024 * 1024


@dataclass(frozen=True)
class ExportOptions:
    """How a dataset is written.

    Attributes:
        codec, crf, key_every: see ``VideoWriter``; LeRobot reads single frames, hence a key frame every other one.
        instruction: the task's text; None takes our task's name.
        data_file_mb, video_file_mb: a file that has grown beyond this is followed by the next one.
    """

    codec: str = "h264"
    crf: int | None = None
    key_every: int = 2
    instruction: str | None = None
    data_file_mb: float = 100.0
    video_file_mb: float = 200.0


def export_lerobot(
    dataset: Path,
    output: Path,
    options: ExportOptions,
    on_damage: Callable[[DatasetError], None] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write all episodes; returns how many there are. What an interrupted export left behind is removed first.

    Args:
        on_damage: told of each damaged or half-written episode, which is then left out. Without it the first is an error.

    Raises:
        DatasetError: an episode is damaged, the rate is no whole number, ``output`` exists, or the codec does not serve.
    """
    info = read_dataset_info(dataset)
    if info.rate_hz != round(info.rate_hz):
        raise LeRobotError(f"'{dataset}' has {info.rate_hz:g} Hz: LeRobot stores whole frames per second only")
    if output.exists():
        raise LeRobotError(f"'{output}' exists: choose another --output or delete it")
    encoder_of(options.codec)
    partial = output.with_name(output.name + _PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with _Export(partial, info, options) as export:
            _append_all(export, dataset, on_damage, on_progress)
            export.finish()
        os.replace(partial, output)
        return export.episodes
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _append_all(
    export: "_Export",
    dataset: Path,
    on_damage: Callable[[DatasetError], None] | None,
    on_progress: Callable[[int, int], None],
) -> None:
    names = all_episodes(dataset)
    for done, name in enumerate(names, 1):
        try:
            arrays = check_episode(dataset, name)
        except DatasetError as error:
            if on_damage is None:
                raise DatasetError(f"{error}; or leave such episodes out by --skip-damaged") from None
            on_damage(error)
        else:
            export.append(read_episode_info(dataset, name), arrays)
        on_progress(done, len(names))


class _Export:
    """The files of one export while they are written; a context manager, so that none stays open after an error."""

    def __init__(self, root: Path, info: DatasetInfo, options: ExportOptions) -> None:
        self._root, self._info = root, info
        self._text = options.instruction or info.task
        self._data = DataShards(root, round(options.data_file_mb * _MB))
        self._videos = {camera.name: _video_shards(root, info, camera, options) for camera in info.cameras}
        self._rows: list[dict[str, Any]] = []
        self._columns: list[dict[str, NDArray[Any]]] = []
        self._levels: dict[str, tuple[NDArray[np.int64], int]] = {}
        self._codec = options.codec
        self._frames = 0
        self._open = ExitStack()

    @property
    def episodes(self) -> int:
        return len(self._rows)

    def __enter__(self) -> "_Export":
        self._open.callback(self._data.close)
        for video in self._videos.values():
            self._open.callback(video.close)
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def append(self, episode: EpisodeInfo, arrays: EpisodeArrays) -> None:
        ticks = len(arrays.stamps_ns)
        columns = _columns(arrays, self._info, self.episodes, self._frames)
        row: dict[str, Any] = {"episode_index": self.episodes, "tasks": [self._text], "length": ticks}
        row |= {"dataset_from_index": self._frames, "dataset_to_index": self._frames + ticks}
        row |= self._data.append(columns)
        summaries = {key: summarise(values) for key, values in columns.items()}
        for camera, video in self._videos.items():
            row |= video.append(arrays.images[camera])
            summaries[IMAGES + camera] = self._count_levels(IMAGES + camera, arrays.images[camera])
        row |= {
            "episode_name": episode.name,
            "seed": episode.seed,
            "success": episode.success,
            "reason": episode.reason,
        }
        row |= {f"stats/{key}/{name}": value for key, summary in summaries.items() for name, value in summary.items()}
        self._rows.append(row)
        self._columns.append(columns)
        self._frames += ticks

    def finish(self) -> None:
        """Close the data and the videos, and write ``meta/``."""
        if not self._rows:
            raise LeRobotError("there is no whole episode to export: collect or import some first")
        self._open.close()
        whole = {key: np.concatenate([columns[key] for columns in self._columns]) for key in self._columns[0]}
        statistics = {key: summarise(values) for key, values in whole.items()}
        statistics |= {key: summarise_levels(*counted) for key, counted in self._levels.items()}
        totals = Totals(self.episodes, self._frames, self._codec, self._text)
        write_metadata(self._root, self._info, totals, self._rows, statistics)

    def _count_levels(self, key: str, images: NDArray[np.uint8]) -> Summary:
        counts, pictures = levels(images)
        before = self._levels.get(key, (np.zeros_like(counts), 0))
        self._levels[key] = before[0] + counts, before[1] + pictures
        return summarise_levels(counts, pictures)


def _video_shards(root: Path, info: DatasetInfo, camera: CameraShape, options: ExportOptions) -> VideoShards:
    settings = VideoSettings(
        round(info.rate_hz), camera.height, camera.width, options.codec, options.crf, options.key_every
    )
    return VideoShards(root, IMAGES + camera.name, settings, round(options.video_file_mb * _MB))


def _columns(arrays: EpisodeArrays, info: DatasetInfo, episode: int, first: int) -> dict[str, NDArray[Any]]:
    """The rows of one episode as LeRobot's columns; times are on the grid of the rate, the true stamps beside them."""
    ticks = np.arange(len(arrays.stamps_ns), dtype=np.int64)
    columns: dict[str, NDArray[Any]] = {STATE: arrays.joints, ACTION: arrays.actions}
    if info.features:
        columns[FEATURES] = arrays.features
    columns |= {STAMP: arrays.stamps_ns, "timestamp": (ticks / info.rate_hz).astype(np.float32)}
    columns |= {"frame_index": ticks, "episode_index": np.full_like(ticks, episode)}
    columns |= {"index": first + ticks, "task_index": np.zeros_like(ticks)}
    return columns
