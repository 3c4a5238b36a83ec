"""``meta/`` of a LeRobot dataset that we write."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from policy_server.dataset.lerobot.layout import (
    ACTION,
    DATA_PATH,
    EPISODES_PATH,
    FEATURES,
    FILES_PER_CHUNK,
    IMAGES,
    INFO_FILE,
    STAMP,
    STATE,
    STATISTICS_FILE,
    TASKS_FILE,
    VERSION,
    VIDEO_PATH,
)
from policy_server.dataset.lerobot.shards import shard
from policy_server.dataset.lerobot.summaries import Summary
from policy_server.dataset.statistics import write_json
from policy_server.dataset.video import PIXEL_FORMAT
from policy_server.runtime.recording import CameraShape, DatasetInfo

_BOOKKEEPING = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
    STAMP: "int64",
}
_DATA_FILE_MB, _VIDEO_FILE_MB = 100, 200


@dataclass(frozen=True)
class Totals:
    """What ``info.json`` states of the whole dataset; ``text`` is the one task's."""

    episodes: int
    frames: int
    codec: str
    text: str


def write_metadata(
    root: Path, info: DatasetInfo, totals: Totals, rows: list[dict[str, Any]], statistics: dict[str, Summary]
) -> None:
    """Write info, statistics, tasks, and the table of episodes, whose ``rows`` say where each episode lies."""
    write_json(root / STATISTICS_FILE, statistics)
    write_json(root / INFO_FILE, _info(info, totals))
    place = {f"meta/episodes/{key}": value for key, value in shard(0).items()}
    _write_table(root / EPISODES_PATH.format(**shard(0)), pa.Table.from_pylist([row | place for row in rows]))
    _write_table(root / TASKS_FILE, _tasks(totals.text))


def _info(info: DatasetInfo, totals: Totals) -> dict[str, Any]:
    return {
        "codebase_version": VERSION,
        "robot_type": None,
        "total_episodes": totals.episodes,
        "total_frames": totals.frames,
        "total_tasks": 1,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": _DATA_FILE_MB,
        "video_files_size_in_mb": _VIDEO_FILE_MB,
        "fps": round(info.rate_hz),
        "splits": {"train": f"0:{totals.episodes}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if info.cameras else None,
        "features": _features(info, totals.codec),
    }


def _features(info: DatasetInfo, codec: str) -> dict[str, Any]:
    named = {STATE: info.proprioception_joints, ACTION: info.action_joints, FEATURES: info.features}
    vectors = {
        key: {"dtype": "float32", "shape": [len(names)], "names": list(names)} for key, names in named.items() if names
    }
    pictures = {IMAGES + camera.name: _picture(camera, round(info.rate_hz), codec) for camera in info.cameras}
    scalars = {key: {"dtype": dtype, "shape": [1], "names": None} for key, dtype in _BOOKKEEPING.items()}
    return {**vectors, **pictures, **scalars}


def _picture(camera: CameraShape, rate_hz: int, codec: str) -> dict[str, Any]:
    video = {
        "video.height": camera.height,
        "video.width": camera.width,
        "video.codec": codec,
        "video.pix_fmt": PIXEL_FORMAT,
        "video.is_depth_map": False,
        "video.fps": rate_hz,
        "video.channels": 3,
        "has_audio": False,
    }
    shape = [camera.height, camera.width, 3]
    return {"dtype": "video", "shape": shape, "names": ["height", "width", "channels"], "info": video}


def _tasks(text: str) -> pa.Table:
    """LeRobot reads it by pandas and looks tasks up by their text, so the text must be the index of the frame."""
    table = pa.table({"task_index": pa.array([0], pa.int64()), "task": pa.array([text])})
    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, (kind, numpy) in kinds.items()
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _write_table(file: Path, table: pa.Table) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)
