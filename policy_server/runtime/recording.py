"""Episodes on disk: memory-mappable arrays with checksums, written whole or not at all.

A dataset is a folder with ``dataset.yaml`` and one folder per episode. An episode holds ``stamps_ns.npy`` int64 (N,),
``joints.npy`` float32 (N, P), ``actions.npy`` float32 (N, A), ``image_<camera>.npy`` uint8 (N, H, W, 3) RGB and
``episode.yaml`` with facts and sha256 sums. It is written under a temporary name and renamed, so a half-written episode never
looks like a whole one.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from policy_server.runtime import configuration
from policy_server.runtime.bundle import sha256_of
from policy_server.runtime.errors import ConfigurationError, DatasetError

DATASET_SCHEMA = 2
DATASET_FILE = "dataset.yaml"
EPISODE_FILE = "episode.yaml"


@dataclass(frozen=True)
class CameraShape:
    """A recorded camera: its name and its picture's size in pixels."""

    name: str
    height: int
    width: int


@dataclass(frozen=True)
class DatasetInfo:
    """``dataset.yaml``: what every episode of the dataset has in common."""

    schema: int
    task: str
    rate_hz: float
    cameras: tuple[CameraShape, ...]
    proprioception_joints: tuple[str, ...]
    action_joints: tuple[str, ...]
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class EpisodeInfo:
    """``episode.yaml``: where an episode came from, how it ended, and the sha256 of its arrays."""

    name: str
    seed: int
    ticks: int
    success: bool
    reason: str
    files: dict[str, str]


@dataclass(frozen=True)
class EpisodeArrays:
    """One episode. ``actions[i]`` is the joint target that was chosen at ``stamps_ns[i]`` for one period later."""

    stamps_ns: NDArray[np.int64]
    joints: NDArray[np.float32]
    actions: NDArray[np.float32]
    images: dict[str, NDArray[np.uint8]]


def create_dataset(folder: Path, info: DatasetInfo) -> None:
    """Write ``dataset.yaml``, or check that the one there says the same. Raises DatasetError when it differs."""
    file = folder / DATASET_FILE
    if file.exists():
        if read_dataset_info(folder) != info:
            raise DatasetError(
                f"'{folder}' holds another dataset (its {DATASET_FILE} differs): choose another folder or delete it"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    _write_yaml(file, configuration.to_plain(info))


def read_dataset_info(folder: Path) -> DatasetInfo:
    """Raises DatasetError when the folder is no dataset of this schema."""
    try:
        values = configuration.read_yaml(folder / DATASET_FILE)
        if values.get("schema") != DATASET_SCHEMA:
            raise DatasetError(
                f"'{folder}' has dataset schema {values.get('schema')}, this version reads {DATASET_SCHEMA}: collect it again"
            )
        return configuration.build(DatasetInfo, values, str(folder / DATASET_FILE))
    except ConfigurationError as error:
        raise DatasetError(f"no dataset at '{folder}': {error}") from None


def write_episode(dataset: Path, name: str, arrays: EpisodeArrays, *, seed: int, success: bool, reason: str) -> None:
    """Write one episode whole or not at all; an episode of that name is replaced."""
    target, partial = dataset / name, dataset / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    named: dict[str, NDArray[Any]] = {"stamps_ns": arrays.stamps_ns, "joints": arrays.joints, "actions": arrays.actions}
    named |= {f"image_{camera}": images for camera, images in arrays.images.items()}
    for stem, array in named.items():
        np.save(partial / f"{stem}.npy", array, allow_pickle=False)
    files = {file.name: sha256_of(file) for file in sorted(partial.iterdir())}
    _write_yaml(
        partial / EPISODE_FILE,
        configuration.to_plain(EpisodeInfo(name, seed, len(arrays.stamps_ns), success, reason, files)),
    )
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)


def list_episodes(dataset: Path) -> list[str]:
    """Names of the whole episodes, sorted; half-written ones are not among them."""
    whole = (entry for entry in dataset.iterdir() if (entry / EPISODE_FILE).is_file())
    return sorted(entry.name for entry in whole if entry.suffix != ".partial")


def read_episode_info(dataset: Path, name: str) -> EpisodeInfo:
    try:
        return configuration.load(EpisodeInfo, dataset / name / EPISODE_FILE)
    except ConfigurationError as error:
        raise DatasetError(
            f"episode '{name}' of '{dataset}' is damaged: {error}; delete its folder and collect it again"
        ) from None


def read_episode(dataset: Path, name: str, *, verify: bool = True) -> EpisodeArrays:
    """Memory-mapped arrays of one episode.

    Raises:
        DatasetError: a file is missing, its checksum differs, or its length is not the episode's.
    """
    info, folder = read_episode_info(dataset, name), dataset / name
    arrays: dict[str, NDArray[Any]] = {}
    for file, expected in info.files.items():
        if not (folder / file).is_file() or (verify and sha256_of(folder / file) != expected):
            raise DatasetError(
                f"episode '{name}' of '{dataset}': {file} is missing or damaged; delete the folder and collect it again"
            )
        arrays[Path(file).stem] = np.load(folder / file, mmap_mode="r", allow_pickle=False)
        if len(arrays[Path(file).stem]) != info.ticks:
            raise DatasetError(
                f"episode '{name}' of '{dataset}': {file} has {len(arrays[Path(file).stem])} ticks, not {info.ticks}"
            )
    images = {stem.removeprefix("image_"): array for stem, array in arrays.items() if stem.startswith("image_")}
    return EpisodeArrays(arrays["stamps_ns"], arrays["joints"], arrays["actions"], images)


def _write_yaml(file: Path, values: Any) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    os.replace(temporary, file)
