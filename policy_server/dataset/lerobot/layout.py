"""Where a LeRobot v3 dataset keeps what, and ``meta/info.json``.

    meta/info.json                                   rate, features, path templates
    meta/stats.json                                  statistics per feature
    meta/tasks.parquet                               task text → task_index
    meta/episodes/chunk-000/file-000.parquet         one row per episode: length, tasks, where its data and videos lie
    data/chunk-000/file-000.parquet                  one row per frame, several episodes per file
    videos/<feature>/chunk-000/file-000.mp4          several episodes per file, from and to a time

Source: the LeRobot project's documentation of LeRobotDataset v3.0 and its readers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policy_server.runtime.errors import DatasetError

VERSION = "v3.0"
INFO_FILE = "meta/info.json"
STATISTICS_FILE = "meta/stats.json"
TASKS_FILE = "meta/tasks.parquet"
EPISODES_FOLDER = "meta/episodes"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
FILES_PER_CHUNK = 1000

STATE = "observation.state"
FEATURES = "observation.environment_state"
ACTION = "action"
IMAGES = "observation.images."
# Not LeRobot's own: what its format has no place for, so that an export comes back as it was.
STAMP = "stamp_ns"
EPISODE_FACTS = ("episode_name", "seed", "success", "reason")


class LeRobotError(DatasetError):
    """A LeRobot dataset is missing, damaged, of another version, or does not map onto joints and cameras."""


class UnitError(LeRobotError):
    """Numbers can be no radians or metres: the fault of the whole import, not of an episode."""


@dataclass(frozen=True)
class Feature:
    """A column of the dataset. ``names`` has one entry per number of a vector, or is empty when the dataset has none."""

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    is_depth: bool

    @property
    def is_picture(self) -> bool:
        return self.dtype in ("video", "image")

    def height_and_width(self) -> tuple[int, int]:
        """Of a picture, in pixels; channels may stand first or last."""
        if "height" in self.names and "width" in self.names:
            return self.shape[self.names.index("height")], self.shape[self.names.index("width")]
        return (self.shape[1], self.shape[2]) if self.shape[0] in (1, 3) else (self.shape[0], self.shape[1])


@dataclass(frozen=True)
class LeRobotInfo:
    """``meta/info.json``, as far as it is needed to read a dataset."""

    rate_hz: float
    episodes: int
    frames: int
    data_path: str
    video_path: str
    features: dict[str, Feature]


def read_info(root: Path) -> LeRobotInfo:
    """Raises LeRobotError when the folder is no LeRobot dataset of version 3."""
    file = root / INFO_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        _check_version(root, str(values["codebase_version"]))
        if not float(values["fps"]) > 0:
            raise ValueError(f"fps is {values['fps']}")
        return LeRobotInfo(
            float(values["fps"]),
            int(values["total_episodes"]),
            int(values["total_frames"]),
            str(values["data_path"]),
            str(values.get("video_path") or ""),
            {str(key): _feature(value) for key, value in values["features"].items()},
        )
    except FileNotFoundError:
        raise LeRobotError(f"no LeRobot dataset at '{root}': it has no {INFO_FILE}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LeRobotError(f"'{file}' cannot be read ({type(error).__name__}: {error}): download it again") from None


def file_in(root: Path, template: str, **fields: object) -> Path:
    """The file that a path template of info.json means. Raises LeRobotError when it lies outside the dataset."""
    try:
        file = root / template.format(**fields)
    except (KeyError, IndexError, ValueError, AttributeError):
        raise LeRobotError(
            f"'{root / INFO_FILE}' has the path template '{template}', which cannot be filled in"
        ) from None
    if not file.resolve().is_relative_to(root.resolve()):
        raise LeRobotError(
            f"'{root / INFO_FILE}' names '{file}', which lies outside the dataset: do not trust this dataset"
        )
    return file


def _check_version(root: Path, version: str) -> None:
    if not version.startswith("v3."):
        raise LeRobotError(
            f"'{root}' is a LeRobot dataset of version {version}, this reads v3: "
            "convert it with LeRobot's convert_dataset_v21_to_v30"
        )


def _feature(value: Mapping[str, Any]) -> Feature:
    info = value.get("info") or value.get("video_info") or {}
    depth = bool(info.get("is_depth_map") or info.get("video.is_depth_map"))
    return Feature(str(value["dtype"]), tuple(int(n) for n in value["shape"]), _names(value.get("names")), depth)


def _names(names: object) -> tuple[str, ...]:
    """Names come as a list, as lists under a title ({"motors": [...]}), as name → position, or not at all."""
    if names is None:
        return ()
    if isinstance(names, Mapping):
        if all(isinstance(position, int) for position in names.values()):
            return tuple(sorted((str(name) for name in names), key=lambda name: names[name]))
        return tuple(str(name) for part in names.values() for name in part)
    if isinstance(names, list):
        return tuple(str(name) for name in names)
    raise ValueError(f"names are {type(names).__name__}")
