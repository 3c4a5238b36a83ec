"""Training pictures on disk, cropped and resized once, so that a dataset may be larger than the memory.

``<dataset>/.frames/<view>/pixels.u8`` holds the pictures of one view of one camera end to end, episode after episode, and
``index.json`` says where each episode lies and from which recording (sha256) it was made. Episodes are appended; one that
``index.json`` does not name is not there, so an interrupted writer goes on where it stopped. A lock lets one process write at a
time, while others wait.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime import configuration
from policy_server.runtime.bundle import sha256_of
from policy_server.runtime.errors import DatasetError, ObservationError
from policy_server.runtime.manifest import CameraSpec
from policy_server.runtime.preprocessing import preprocess
from policy_server.runtime.recording import EpisodeInfo
from policy_server.runtime.whole_file import write_whole

FRAMES_FOLDER = ".frames"
PIXELS_FILE = "pixels.u8"
INDEX_FILE = "index.json"
_EPISODES_PER_SAVE = 20


class _Entry(TypedDict):
    """Where an episode's pictures lie, in rows of the pixel file, and the sha256 of the recording they come from."""

    start: int
    ticks: int
    sha256: str


_Index = dict[str, _Entry]


@dataclass(frozen=True)
class StoredFrames:
    """One camera's pictures of all ticks, read from disk as they are asked for; indexed like an array over the ticks.

    Attributes:
        pixels: uint8 (rows, height, width, 3), memory-mapped.
        rows: int64 (N,), where each tick's picture lies in ``pixels``.
    """

    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, ticks: int | slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8 (..., height, width, 3) of these ticks."""
        return self.pixels[self.rows[ticks]]


def frames_folder(dataset: Path, camera: CameraSpec) -> Path:
    """Where the pictures of this view lie; another crop or size has another folder."""
    view = json.dumps(configuration.to_plain(camera), sort_keys=True)
    return dataset / FRAMES_FOLDER / f"{camera.name}_{hashlib.sha256(view.encode()).hexdigest()[:12]}"


def write_frames(
    dataset: Path, camera: CameraSpec, episodes: Sequence[EpisodeInfo], on_progress: Callable[[int, int], None]
) -> dict[str, DatasetError]:
    """Bring the store up to date with ``episodes``; those that are there already cost nothing.

    Returns:
        The damaged episodes and what is wrong with each; the others are in the store.
    """
    folder = frames_folder(dataset, camera)
    if not _missing(_read_index(folder, camera), camera, episodes):
        return {}
    damaged: dict[str, DatasetError] = {}
    with locked(folder):
        index = _read_index(folder, camera)
        missing = _missing(index, camera, episodes)
        file = folder / PIXELS_FILE
        end = max((entry["start"] + entry["ticks"] for entry in index.values()), default=0)
        with file.open("r+b" if file.exists() else "w+b") as stream:
            stream.truncate(end * _picture_bytes(camera))
            stream.seek(0, os.SEEK_END)
            for done, info in enumerate(missing, 1):
                try:
                    pictures = _preprocessed(dataset, camera, info)
                except DatasetError as error:
                    damaged[info.name] = error
                    continue
                stream.write(pictures.data)
                index[info.name] = {"start": end, "ticks": info.ticks, "sha256": info.files[_image_file(camera)]}
                end += info.ticks
                if done % _EPISODES_PER_SAVE == 0:
                    _save_index(folder, index, stream.fileno(), stream.flush)
                on_progress(done, len(missing))
            _save_index(folder, index, stream.fileno(), stream.flush)
    return damaged


def open_frames(dataset: Path, camera: CameraSpec, episodes: Sequence[EpisodeInfo]) -> StoredFrames:
    """The stored pictures of ``episodes``, end to end. All of them must have been written."""
    folder = frames_folder(dataset, camera)
    index = _read_index(folder, camera)
    pixels = np.memmap(folder / PIXELS_FILE, np.uint8, "r").reshape(-1, camera.height, camera.width, 3)
    rows = [index[info.name]["start"] + np.arange(info.ticks, dtype=np.int64) for info in episodes]
    return StoredFrames(pixels, np.concatenate(rows))


def _missing(index: _Index, camera: CameraSpec, episodes: Sequence[EpisodeInfo]) -> list[EpisodeInfo]:
    """Episodes that the store does not hold, or holds from another recording."""
    file = _image_file(camera)
    held = {name: entry["sha256"] for name, entry in index.items()}
    return [info for info in episodes if info.name not in held or held[info.name] != info.files.get(file)]


def _preprocessed(dataset: Path, camera: CameraSpec, info: EpisodeInfo) -> NDArray[np.uint8]:
    """Every picture of one episode as the encoder takes it. Raises DatasetError when the recording is damaged."""
    name = _image_file(camera)
    file = dataset / info.name / name
    if name not in info.files or not file.is_file() or sha256_of(file) != info.files[name]:
        raise _damage(dataset, info, f"{name} is missing or damaged")
    images = np.load(file, mmap_mode="r", allow_pickle=False)
    if len(images) != info.ticks:
        raise _damage(dataset, info, f"{name} has {len(images)} ticks, not {info.ticks}")
    try:
        return np.stack([preprocess(image, camera) for image in images])
    except ObservationError as error:
        raise _damage(dataset, info, str(error)) from None


def _damage(dataset: Path, info: EpisodeInfo, what: str) -> DatasetError:
    return DatasetError(f"episode '{info.name}' of '{dataset}': {what}; delete its folder and collect it again")


def _image_file(camera: CameraSpec) -> str:
    return f"image_{camera.name}.npy"


def _picture_bytes(camera: CameraSpec) -> int:
    return camera.height * camera.width * 3


def _read_index(folder: Path, camera: CameraSpec) -> _Index:
    """What the store holds. Raises DatasetError when the index cannot be read, or the pixel file is shorter than it says."""
    file, pixels = folder / INDEX_FILE, folder / PIXELS_FILE
    if not file.exists():
        return {}
    try:
        index: _Index = json.loads(file.read_text(encoding="utf-8"))
        end = max((entry["start"] + entry["ticks"] for entry in index.values()), default=0)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DatasetError(f"'{file}' is damaged ({error!r}): delete '{folder}', it is made again") from None
    if not pixels.exists() or pixels.stat().st_size < end * _picture_bytes(camera):
        raise DatasetError(f"'{pixels}' is shorter than its index says: delete '{folder}', it is made again")
    return index


def _save_index(folder: Path, index: _Index, pixels: int, flush: Callable[[], None]) -> None:
    """Only pictures that are on disk may be named."""
    flush()
    os.fsync(pixels)
    write_whole(folder / INDEX_FILE, json.dumps(index))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make ``folder`` and be the only process that writes into it; another one waits. Raises DatasetError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / "lock").open("w")
    except OSError as error:
        raise DatasetError(f"cannot write into '{folder}' ({error}): make it writable") from None
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
