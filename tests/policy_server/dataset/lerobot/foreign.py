"""A LeRobot v3 dataset as others write them: 30 Hz, degrees, PNG in the table, several episodes per file, no stamps of ours."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

RATE_HZ = 30
LENGTHS = (31, 40)
NAMES = (*(f"joint_{i}.pos" for i in range(1, 8)), "gripper.pos")
HEIGHT, WIDTH = 12, 20


def state(episode: int) -> NDArray[np.float32]:
    """float32 (N, 8): degrees, and the gripper's opening from 0 to 1."""
    generator = np.random.default_rng(episode)
    values = generator.uniform(-90, 90, (LENGTHS[episode], len(NAMES)))
    values[:, -1] = generator.uniform(0, 1, LENGTHS[episode])
    return values.astype(np.float32)


def action(episode: int) -> NDArray[np.float32]:
    return (state(episode) * np.float32(0.99)).astype(np.float32)


def frame(episode: int, number: int) -> NDArray[np.uint8]:
    generator = np.random.default_rng((episode, number))
    return generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def write_foreign(root: Path, tasks: tuple[str, ...] = ("Pick the cube",), **changes: Any) -> Path:
    """``changes`` replace keys of info.json."""
    columns: dict[str, list[Any]] = {}
    rows: list[dict[str, Any]] = []
    for episode, length in enumerate(LENGTHS):
        place = {"data/chunk_index": 0, "data/file_index": 0}
        rows.append({"episode_index": episode, "length": length, "tasks": [tasks[0]], **place})
        parts: dict[str, list[Any]] = {
            "observation.state": state(episode).tolist(),
            "action": action(episode).tolist(),
            "observation.images.top": [_png(frame(episode, number)) for number in range(length)],
            "timestamp": np.float32(np.arange(length) / RATE_HZ).tolist(),
            "frame_index": list(range(length)),
            "episode_index": [episode] * length,
            "index": list(range(length)),
            "task_index": [0] * length,
            "next.success": [number == length - 1 and episode == 1 for number in range(length)],
            "next.reward": [0.0] * length,
        }
        for key, values in parts.items():
            columns.setdefault(key, []).extend(values)
    _write(root / "data/chunk-000/file-000.parquet", pa.table(columns))
    _write(root / "meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(rows))
    # As pandas writes an index without a name.
    texts = pa.table({"task_index": list(range(len(tasks))), "__index_level_0__": list(tasks)})
    _write(root / "meta/tasks.parquet", texts)
    (root / "meta/info.json").write_text(json.dumps({**_info(), **changes}))
    return root


def _info() -> dict[str, Any]:
    vector = {"dtype": "float32", "shape": [8], "names": {"motors": list(NAMES)}}
    return {
        "codebase_version": "v3.0",
        "fps": RATE_HZ,
        "total_episodes": len(LENGTHS),
        "total_frames": sum(LENGTHS),
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
        "features": {
            "observation.state": vector,
            "action": vector,
            "observation.images.top": {"dtype": "image", "shape": [3, HEIGHT, WIDTH], "names": None},
            "observation.images.depth": {
                "dtype": "image",
                "shape": [HEIGHT, WIDTH, 1],
                "names": ["height", "width", "channels"],
                "info": {"is_depth_map": True},
            },
            "next.success": {"dtype": "bool", "shape": [1], "names": None},
            "next.reward": {"dtype": "float32", "shape": [1], "names": None},
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
        },
    }


def _png(image: NDArray[np.uint8]) -> dict[str, Any]:
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return {"bytes": data.tobytes(), "path": "frame.png"}


def _write(file: Path, table: pa.Table) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)
