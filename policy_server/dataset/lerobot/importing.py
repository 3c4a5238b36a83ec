"""LeRobot v3 → our format: rows by joint names, videos decoded once into arrays that can be memory-mapped."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from policy_server.dataset.lerobot.layout import (
    ACTION,
    EPISODES_FOLDER,
    FEATURES,
    INFO_FILE,
    STAMP,
    STATE,
    LeRobotError,
    LeRobotInfo,
    UnitError,
    read_info,
)
from policy_server.dataset.lerobot.mapping import (
    Columns,
    JointOptions,
    check_units,
    choose_cameras,
    joint_columns,
    names_of,
)
from policy_server.dataset.lerobot.reading import Entry, read_columns, read_entries, read_pictures, read_tasks
from policy_server.dataset.statistics import write_json
from policy_server.runtime import configuration
from policy_server.runtime.clock import NS_PER_S
from policy_server.runtime.errors import DatasetError
from policy_server.runtime.recording import (
    DATASET_FILE,
    DATASET_SCHEMA,
    CameraShape,
    DatasetInfo,
    EpisodeArrays,
    create_dataset,
    list_episodes,
    list_partial,
    write_episode,
)

IMPORT_FILE = "lerobot_import.json"
_BOOKKEEPING = ("timestamp", "frame_index", "episode_index", "index", "task_index", "next.success", STAMP)
_FIRST_STAMP_NS = NS_PER_S  # ROS takes a stamp of 0 for "no time"
_ON_GRID_S = 1e-3
_EPISODE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class ImportOptions:
    """What is taken from a LeRobot dataset and how.

    Attributes:
        task: name of our dataset's task; None takes the dataset's own if it has one only.
        rate_hz: of our dataset; None keeps theirs, others must divide it.
        state, action: the features whose vectors, end to end, hold the joints and their targets.
        cameras: see ``mapping.choose_cameras``.
    """

    task: str | None = None
    rate_hz: float | None = None
    state: tuple[str, ...] = (STATE,)
    action: tuple[str, ...] = (ACTION,)
    joints: JointOptions = field(default_factory=JointOptions)
    cameras: str | None = None


@dataclass(frozen=True)
class ImportPlan:
    """A LeRobot dataset and what becomes of it.

    Attributes:
        info: of our dataset.
        stride: frames of theirs per tick of ours.
        left_out: features that our format has no place for or that were not asked for.
    """

    source: LeRobotInfo
    entries: tuple[Entry, ...]
    info: DatasetInfo
    options: ImportOptions
    states: Columns
    actions: Columns
    cameras: dict[str, CameraShape]
    stride: int
    left_out: tuple[str, ...]


def plan_import(root: Path, options: ImportOptions) -> ImportPlan:
    """Read what the dataset says of itself and decide. Raises LeRobotError when it does not map onto joints and cameras."""
    source = read_info(root)
    states = joint_columns(names_of(source, options.state), options.joints, "state", all_needed=True)
    actions = joint_columns(names_of(source, options.action), options.joints, "action", all_needed=False)
    _check_names(states, actions, options.joints)
    cameras = choose_cameras(source, options.cameras)
    stride = _stride(source.rate_hz, options.rate_hz)
    features = source.features[FEATURES].names if FEATURES in source.features else ()
    info = DatasetInfo(
        DATASET_SCHEMA,
        _task(root, options.task),
        source.rate_hz / stride,
        tuple(cameras.values()),
        states.names,
        actions.names,
        features,
    )
    used = {*options.state, *options.action, *cameras, *_BOOKKEEPING, *([FEATURES] if features else [])}
    left_out = tuple(key for key in source.features if key not in used)
    entries = tuple(read_entries(root, source))
    return ImportPlan(source, entries, info, options, states, actions, cameras, stride, left_out)


def _check_names(states: Columns, actions: Columns, options: JointOptions) -> None:
    strangers = [name for name in actions.names if name not in states.names]
    if strangers:
        raise LeRobotError(
            f"action '{strangers[0]}' is no joint of the state ({', '.join(states.names)}): only targets of joints can be "
            "imported; say which is which by --joints theirs=ours,…"
        )
    unknown = [name for name, _ in options.scales if name not in states.names]
    if unknown:
        raise LeRobotError(f"--scale {unknown[0]}: our joints are {', '.join(states.names)}")


def import_lerobot(
    root: Path,
    output: Path,
    plan: ImportPlan,
    on_damage: Callable[[DatasetError], None] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write the episodes that ``output`` does not hold yet; returns how many were left out as damaged.

    Args:
        on_damage: told of each damaged episode, which is then left out. Without it the first one is an error.

    Raises:
        DatasetError: ``output`` holds something else, an episode is damaged, or its numbers can be no radians or metres.
    """
    _claim(root, output, plan)
    have = set(list_episodes(output))
    damaged = 0
    names = _episode_names(plan.entries)
    for done, (entry, name) in enumerate(zip(plan.entries, names, strict=True), 1):
        try:
            if name not in have:
                _import_episode(output, plan, entry, name)
        except UnitError:
            raise
        except DatasetError as error:
            if on_damage is None:
                raise DatasetError(f"{error}; or leave such episodes out by --skip-damaged") from None
            on_damage(error)
            damaged += 1
        on_progress(done, len(names))
    return damaged


def _import_episode(output: Path, plan: ImportPlan, entry: Entry, name: str) -> None:
    options, info = plan.options, plan.info
    ticks = entry.length // plan.stride
    if not ticks:
        raise LeRobotError(
            f"episode {entry.index} has {entry.length} frames, less than one tick at {info.rate_hz:g} Hz"
        )
    optional = [key for key in (STAMP, FEATURES, "next.success") if key in plan.source.features]
    rows = read_columns(entry, list(dict.fromkeys((*options.state, *options.action, "timestamp", *optional))))
    states = plan.states.take(_vector(rows, options.state))
    actions = plan.actions.take(_vector(rows, options.action))
    features = _features(rows, info)
    for what, values in (("state", states), ("action", actions), ("features", features)):
        if not np.isfinite(values).all():
            raise LeRobotError(f"episode {entry.index}: its {what} holds a number that is not finite")
    check_units(plan.states, states, options.joints, f"episode {entry.index}: state")
    check_units(plan.actions, actions, options.joints, f"episode {entry.index}: action")
    every, last = slice(0, ticks * plan.stride, plan.stride), slice(plan.stride - 1, None, plan.stride)
    arrays = EpisodeArrays(
        stamps_ns=_stamps(rows, entry, plan.source.rate_hz)[every],
        joints=states[every],
        # A tick's action is the target for one period later: the last that was given before the next tick.
        actions=actions[last][:ticks],
        images={camera.name: _pictures(plan, entry, key, camera, ticks) for key, camera in plan.cameras.items()},
        features=features[every],
    )
    success, reason = _outcome(rows, entry)
    seed = int(entry.facts.get("seed", entry.index))
    write_episode(output, name, arrays, seed=seed, success=success, reason=reason)


def _pictures(plan: ImportPlan, entry: Entry, key: str, camera: CameraShape, ticks: int) -> NDArray[np.uint8]:
    pictures = np.empty((ticks, camera.height, camera.width, 3), np.uint8)
    size = plan.source.features[key].height_and_width()
    frames = read_pictures(entry, key, plan.source.rate_hz)
    for tick, frame in enumerate(islice(frames, 0, ticks * plan.stride, plan.stride)):
        if frame.shape != (*size, 3):
            raise LeRobotError(
                f"episode {entry.index}: '{key}' has pictures of {frame.shape}, {INFO_FILE} says {(*size, 3)}"
            )
        pictures[tick] = _resized(frame, camera)
    return pictures


def _resized(frame: NDArray[np.uint8], camera: CameraShape) -> NDArray[np.uint8]:
    if frame.shape[:2] == (camera.height, camera.width):
        return frame
    return np.asarray(cv2.resize(frame, (camera.width, camera.height), interpolation=cv2.INTER_AREA), np.uint8)


def _vector(rows: dict[str, NDArray[Any]], keys: tuple[str, ...]) -> NDArray[Any]:
    """These features end to end, (N, C)."""
    return np.concatenate([rows[key].reshape(len(rows[key]), -1) for key in keys], axis=1)


def _features(rows: dict[str, NDArray[Any]], info: DatasetInfo) -> NDArray[np.float32]:
    count = len(rows["timestamp"])
    if not info.features:
        return np.empty((count, 0), np.float32)
    return rows[FEATURES].reshape(count, -1).astype(np.float32)


def _stamps(rows: dict[str, NDArray[Any]], entry: Entry, rate_hz: float) -> NDArray[np.int64]:
    """int64 (N,): the true stamps where an export of ours keeps them, else the dataset's time grid, from 1 s on."""
    if STAMP in rows:
        stamps = rows[STAMP].astype(np.int64)
    else:
        times_s = rows["timestamp"].astype(np.float64).reshape(-1)
        grid_s = np.arange(entry.length) / rate_hz
        # Their times are float32; on the grid the grid is the better number.
        exact_s = grid_s if (np.abs(times_s - grid_s) < _ON_GRID_S).all() else times_s
        stamps = _FIRST_STAMP_NS + np.round(exact_s * NS_PER_S).astype(np.int64)
    if (np.diff(stamps) <= 0).any():
        raise LeRobotError(f"episode {entry.index}: its times do not ascend: download it again")
    return stamps


def _outcome(rows: dict[str, NDArray[Any]], entry: Entry) -> tuple[bool, str]:
    if "success" in entry.facts:
        return bool(entry.facts["success"]), str(entry.facts.get("reason", ""))
    if "next.success" in rows:
        return bool(rows["next.success"].any()), "as next.success says"
    return True, "not stated by the LeRobot dataset"


def _episode_names(entries: tuple[Entry, ...]) -> list[str]:
    """Their own names where all have one that serves as a folder's, else numbers."""
    stated = [str(entry.facts.get("episode_name", "")) for entry in entries]
    if all(_EPISODE_NAME.fullmatch(name) for name in stated) and len(set(stated)) == len(stated):
        return stated
    return [f"episode_{entry.index:07d}" for entry in entries]


def _stride(theirs_hz: float, wanted_hz: float | None) -> int:
    stride = theirs_hz / (wanted_hz or theirs_hz)
    if stride < 1 or abs(stride - round(stride)) > 1e-6:
        near = ", ".join(f"{theirs_hz / n:g}" for n in range(1, 6))
        raise LeRobotError(f"rate {wanted_hz:g} Hz does not divide the dataset's {theirs_hz:g} Hz: choose {near}, …")
    return round(stride)


def _task(root: Path, wanted: str | None) -> str:
    if wanted:
        return wanted
    texts = read_tasks(root)
    if len(texts) != 1:
        raise LeRobotError(f"'{root}' has {len(texts)} tasks: name ours by --task NAME")
    return texts[0]


def _claim(root: Path, output: Path, plan: ImportPlan) -> None:
    """Make ``output`` this import's own, so that one that was interrupted goes on and no other one is mixed in."""
    record = {"source": _fingerprint(root), "options": configuration.to_plain(plan.options)}
    file = output / IMPORT_FILE
    if not file.is_file() and (output / DATASET_FILE).exists():
        raise DatasetError(f"'{output}' holds another dataset: choose another --output")
    if file.is_file() and json.loads(file.read_text(encoding="utf-8")) != record:
        if list_episodes(output):
            raise DatasetError(
                f"'{output}' was imported from another dataset or with other options: delete it or choose another --output"
            )
        _clear(output)
    write_json(file, record)
    create_dataset(output, plan.info)


def _clear(output: Path) -> None:
    """Forget an import that did not come as far as a whole episode."""
    (output / DATASET_FILE).unlink(missing_ok=True)
    for name in list_partial(output):
        shutil.rmtree(output / name)


def _fingerprint(root: Path) -> str:
    """Changes with what the dataset says of itself and of its episodes."""
    digest = hashlib.sha256()
    for file in [root / INFO_FILE, *sorted((root / EPISODES_FOLDER).glob("*/*.parquet"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()
