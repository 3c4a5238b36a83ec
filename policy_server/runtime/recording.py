"""Episodes on disk: memory-mappable arrays with checksums, written whole or not at all.

A dataset is a folder with ``dataset.yaml`` and one folder per episode. An episode holds ``stamps_ns.npy`` int64 (N,),
``joints.npy`` float32 (N, P), ``actions.npy`` float32 (N, A), ``features.npy`` float32 (N, F) when the dataset has features,
``image_<camera>.npy`` uint8 (N, H, W, 3) RGB and ``episode.yaml`` with facts and sha256 sums. It is written under a temporary
name and renamed, so a half-written episode never looks like a whole one.
"""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from policy_server.runtime import configuration
from policy_server.runtime.bundle import sha256_of
from policy_server.runtime.errors import ConfigurationError, DatasetError
from policy_server.runtime.whole_file import write_whole

DATASET_SCHEMA = 2
DATASET_FILE = "dataset.yaml"
EPISODE_FILE = "episode.yaml"
_PARTIAL = ".partial"
_IMAGE = "image_"


@dataclass(frozen=True)
class CameraShape:
    """A recorded camera: its name and its picture's size in pixels."""

    name: str
    height: int
    width: int


@dataclass(frozen=True)
class DatasetInfo:
    """``dataset.yaml``: what every episode of the dataset has in common.

    ``features`` names scalars that the task states about the visible world; empty when none were recorded. ``shift`` says what was
    different from the task as it is built, beginning with the shift's name; empty when nothing was.
    """

    schema: int
    task: str
    rate_hz: float
    cameras: tuple[CameraShape, ...]
    proprioception_joints: tuple[str, ...]
    action_joints: tuple[str, ...]
    features: tuple[str, ...] = ()
    shift: dict[str, Any] = field(default_factory=dict)


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
    """One episode of N ticks.

    Attributes:
        stamps_ns: int64 (N,), ascending.
        joints: float32 (N, P), measured, rad and m.
        actions: float32 (N, A); ``actions[i]`` is the joint target that was chosen at ``stamps_ns[i]`` for one period later.
        images: camera → uint8 (N, height, width, 3) RGB.
        features: float32 (N, F); F is 0 when the dataset has none.
    """

    stamps_ns: NDArray[np.int64]
    joints: NDArray[np.float32]
    actions: NDArray[np.float32]
    images: dict[str, NDArray[np.uint8]]
    features: NDArray[np.float32]


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
    target, partial = dataset / name, dataset / f"{name}{_PARTIAL}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    named: dict[str, NDArray[Any]] = {"stamps_ns": arrays.stamps_ns, "joints": arrays.joints, "actions": arrays.actions}
    if arrays.features.shape[1]:
        named["features"] = arrays.features
    named |= {f"{_IMAGE}{camera}": images for camera, images in arrays.images.items()}
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
    """Names of the whole episodes, sorted; half-written ones are not among them. Raises DatasetError without the folder."""
    return sorted(
        entry.name for entry in _folders(dataset) if (entry / EPISODE_FILE).is_file() and entry.suffix != _PARTIAL
    )


def list_partial(dataset: Path) -> list[str]:
    """Names of half-written episodes, sorted: folders that were not renamed yet, or hold arrays but no ``episode.yaml``.

    Raises DatasetError without the folder.
    """
    return sorted(entry.name for entry in _folders(dataset) if _is_partial(entry))


def read_episode_info(dataset: Path, name: str) -> EpisodeInfo:
    """Raises DatasetError when ``episode.yaml`` is missing or damaged."""
    try:
        return configuration.load(EpisodeInfo, dataset / name / EPISODE_FILE)
    except ConfigurationError as error:
        raise _damaged(dataset, name, str(error)) from None


def read_episode(dataset: Path, name: str, *, verify: bool = True, images: bool = True) -> EpisodeArrays:
    """Memory-mapped arrays of one episode; without ``images`` its pictures are left out and not looked at.

    Raises:
        DatasetError: a file is missing, its checksum differs (only looked at with ``verify``), or its length is not the
            episode's.
    """
    info = read_episode_info(dataset, name)
    files = [file for file in info.files if images or not file.startswith(_IMAGE)]
    arrays = {Path(file).stem: _map_array(dataset, name, info, file, verify) for file in files}
    missing = [stem for stem in ("stamps_ns", "joints", "actions") if stem not in arrays]
    if missing:
        raise _damaged(dataset, name, f"{EPISODE_FILE} lists no {missing[0]}.npy")
    pictures = {stem.removeprefix(_IMAGE): array for stem, array in arrays.items() if stem.startswith(_IMAGE)}
    features = arrays.get("features", np.empty((info.ticks, 0), np.float32))
    return EpisodeArrays(arrays["stamps_ns"], arrays["joints"], arrays["actions"], pictures, features)


def check_episode(dataset: Path, name: str, *, images: bool = True) -> EpisodeArrays:
    """Read all of one episode, or all but its pictures, and compare it with the dataset's description; returns what was read.

    Raises:
        DatasetError: a file is missing or its checksum differs, an array has another dtype or shape than ``dataset.yaml``
            says, a camera is missing, stamps do not ascend, or a number is not finite. Names the file and the mend.
    """
    info = read_dataset_info(dataset)
    arrays = read_episode(dataset, name, images=images)
    expected = _expected_arrays(info, len(arrays.stamps_ns), images)
    found: dict[str, NDArray[Any]] = {"stamps_ns.npy": arrays.stamps_ns, "joints.npy": arrays.joints}
    found |= {"actions.npy": arrays.actions, "features.npy": arrays.features}
    found |= {f"{_IMAGE}{camera}.npy": pictures for camera, pictures in arrays.images.items()}
    for file in sorted(expected.keys() | found.keys()):
        if file not in found or file not in expected:
            raise _damaged(dataset, name, f"{file} is {'missing' if file in expected else f'not in {DATASET_FILE}'}")
        shape, dtype = expected[file]
        if found[file].shape != shape or found[file].dtype != dtype:
            has = f"{found[file].dtype} {found[file].shape}"
            raise _damaged(dataset, name, f"{file} holds {has}, {DATASET_FILE} says {np.dtype(dtype)} {shape}")
        if np.issubdtype(dtype, np.floating) and not np.isfinite(found[file]).all():
            raise _damaged(dataset, name, f"{file} holds a number that is not finite")
    if not len(arrays.stamps_ns) or (np.diff(arrays.stamps_ns) <= 0).any():
        raise _damaged(dataset, name, "stamps_ns.npy is empty or does not ascend")
    return arrays


def _map_array(dataset: Path, name: str, info: EpisodeInfo, file: str, verify: bool) -> NDArray[Any]:
    path = dataset / name / file
    if not path.is_file() or (verify and sha256_of(path) != info.files[file]):
        raise _damaged(dataset, name, f"{file} is missing or damaged")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise _damaged(dataset, name, f"{file} cannot be read ({error})") from None
    if array.shape[:1] != (info.ticks,):
        raise _damaged(dataset, name, f"{file} has shape {array.shape}, not {info.ticks} ticks")
    return array


def _expected_arrays(info: DatasetInfo, ticks: int, images: bool) -> dict[str, tuple[tuple[int, ...], type]]:
    """File → shape and dtype that an episode of ``ticks`` ticks must have."""
    expected: dict[str, tuple[tuple[int, ...], type]] = {
        "stamps_ns.npy": ((ticks,), np.int64),
        "joints.npy": ((ticks, len(info.proprioception_joints)), np.float32),
        "actions.npy": ((ticks, len(info.action_joints)), np.float32),
        "features.npy": ((ticks, len(info.features)), np.float32),
    }
    for camera in info.cameras if images else ():
        expected[f"{_IMAGE}{camera.name}.npy"] = ((ticks, camera.height, camera.width, 3), np.uint8)
    return expected


def _damaged(dataset: Path, name: str, fault: str) -> DatasetError:
    return DatasetError(f"episode '{name}' of '{dataset}': {fault}: delete its folder and collect it again")


def _folders(dataset: Path) -> list[Path]:
    if not dataset.is_dir():
        raise DatasetError(f"no dataset at '{dataset}': the folder is not there; collect it first")
    return [entry for entry in dataset.iterdir() if entry.is_dir()]


def _is_partial(folder: Path) -> bool:
    return folder.suffix == _PARTIAL or (not (folder / EPISODE_FILE).is_file() and (folder / "stamps_ns.npy").is_file())


def _write_yaml(file: Path, values: Any) -> None:
    write_whole(file, yaml.safe_dump(values, sort_keys=False))
