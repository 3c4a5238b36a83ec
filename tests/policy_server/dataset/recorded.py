"""A recorded dataset whose numbers are plausible for an arm and whose pictures a video codec can follow."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.recording import (
    DATASET_SCHEMA,
    CameraShape,
    DatasetInfo,
    EpisodeArrays,
    create_dataset,
    write_episode,
)

JOINTS = (*(f"fr3_joint{i}" for i in range(1, 8)), "fr3_finger_joint1")
CAMERAS = (CameraShape("front", 64, 80), CameraShape("wrist", 64, 64))
FEATURES = ("lamp_red", "goal_x_m")
INFO = DatasetInfo(DATASET_SCHEMA, "press_count", 10.0, CAMERAS, JOINTS, JOINTS, FEATURES)
LENGTHS = (7, 12, 5)


def picture(camera: CameraShape, seed: int, tick: int) -> NDArray[np.uint8]:
    """A smooth picture, uint8 (height, width, 3), whose brightness says which tick of which episode it is."""
    y, x = np.mgrid[: camera.height, : camera.width]
    level = 30 + (53 * seed + 9 * tick) % 170
    shades = [level + x / 4, level + y / 4, level + (x + y) / 8]
    return np.stack(shades, axis=-1).astype(np.uint8)


def arrays(ticks: int, seed: int, info: DatasetInfo = INFO) -> EpisodeArrays:
    generator = np.random.default_rng(seed)
    joints = generator.uniform(-2.5, 2.5, (ticks, len(JOINTS)))
    joints[:, -1] = generator.uniform(0, 0.04, ticks)
    stamps_ns = 5_000_000_000 + 100_000_000 * np.arange(ticks) + generator.integers(-9_000_000, 9_000_000, ticks)
    actions = joints + generator.uniform(-0.005, 0.005, joints.shape)
    images = {c.name: np.stack([picture(c, seed, tick) for tick in range(ticks)]) for c in info.cameras}
    features = generator.uniform(0, 1, (ticks, len(info.features))).astype(np.float32)
    return EpisodeArrays(stamps_ns, joints.astype(np.float32), actions.astype(np.float32), images, features)


def write_dataset(folder: Path, lengths: tuple[int, ...] = LENGTHS, info: DatasetInfo = INFO) -> Path:
    """Episodes ``episode_1000000`` on; every other one is a failure."""
    create_dataset(folder, info)
    for seed, ticks in enumerate(lengths):
        name = f"episode_{1_000_000 + seed}"
        success = seed % 2 == 0
        reason = "pressed" if success else "timed out"
        write_episode(folder, name, arrays(ticks, seed, info), seed=1_000_000 + seed, success=success, reason=reason)
    return folder


def flip_last_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
