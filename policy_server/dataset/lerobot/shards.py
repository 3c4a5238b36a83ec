"""Files that hold several episodes and are followed by the next one when they are full."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from policy_server.dataset.lerobot.layout import DATA_PATH, FILES_PER_CHUNK, VIDEO_PATH
from policy_server.dataset.video import VideoWriter


@dataclass(frozen=True)
class VideoSettings:
    """How the pictures of one camera are encoded; see ``VideoWriter``."""

    rate_hz: int
    height: int
    width: int
    codec: str
    crf: int | None
    key_every: int


class DataShards:
    """Parquet files of rows; one row group per episode, so that one can be read alone."""

    def __init__(self, root: Path, most_bytes: int) -> None:
        self._root, self._most_bytes = root, most_bytes
        self._number = 0
        self._writer: pq.ParquetWriter | None = None
        self._sink: pa.NativeFile | None = None

    def append(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        """Write one episode; returns where it lies, as columns of the table of episodes."""
        table = pa.table({key: _column(values) for key, values in columns.items()})
        if self._sink is not None and self._sink.tell() >= self._most_bytes:
            self.close()
            self._number += 1
        if self._writer is None:
            file = self._root / DATA_PATH.format(**shard(self._number))
            file.parent.mkdir(parents=True, exist_ok=True)
            self._sink = pa.OSFile(str(file), "wb")
            self._writer = pq.ParquetWriter(self._sink, table.schema)
        self._writer.write_table(table)
        return {f"data/{key}": value for key, value in shard(self._number).items()}

    def close(self) -> None:
        """End the file that is open. Calling it twice does nothing."""
        if self._writer is not None and self._sink is not None:
            self._writer.close()
            self._sink.close()
            self._writer = self._sink = None


class VideoShards:
    """MP4 files of one camera."""

    def __init__(self, root: Path, key: str, settings: VideoSettings, most_bytes: int) -> None:
        self._root, self._key, self._settings, self._most_bytes = root, key, settings, most_bytes
        self._number = 0
        self._writer: VideoWriter | None = None

    def append(self, images: NDArray[np.uint8]) -> dict[str, float]:
        """Encode one episode, uint8 (N, height, width, 3); returns where it lies, as columns of the table of episodes."""
        if self._writer is not None and self._writer.size_bytes >= self._most_bytes:
            self.close()
            self._number += 1
        if self._writer is None:
            settings = self._settings
            file = self._root / VIDEO_PATH.format(video_key=self._key, **shard(self._number))
            self._writer = VideoWriter(
                file,
                settings.rate_hz,
                settings.height,
                settings.width,
                settings.codec,
                settings.crf,
                settings.key_every,
            )
        first = self._writer.frames
        self._writer.write(images)
        times_s = {
            "from_timestamp": first / self._settings.rate_hz,
            "to_timestamp": self._writer.frames / self._settings.rate_hz,
        }
        return {f"videos/{self._key}/{key}": value for key, value in {**shard(self._number), **times_s}.items()}

    def close(self) -> None:
        """End the file that is open. Calling it twice does nothing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def shard(number: int) -> dict[str, int]:
    """Chunk and file of the file with this number."""
    return {"chunk_index": number // FILES_PER_CHUNK, "file_index": number % FILES_PER_CHUNK}


def _column(values: NDArray[Any]) -> pa.Array:
    """(N,) as it is, (N, C) as lists of a fixed length."""
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])
