"""A recorded dataset and a policy small enough to train in a test."""

from pathlib import Path

import numpy as np

from policy_server.model.encoder import EncoderConfig
from policy_server.model.policy import ModelConfig
from policy_server.model.unet import UnetConfig
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.recording import (
    DATASET_SCHEMA,
    CameraShape,
    DatasetInfo,
    EpisodeArrays,
    create_dataset,
    write_episode,
)
from policy_server.training.configuration import ChunkConfig, ContextConfig, TrainingConfig, ViewConfig, policy_spec
from tests.synthetic_bundle import JOINTS

PERIOD_NS = 100_000_000
CAMERAS = (CameraShape("front", 32, 40), CameraShape("wrist", 24, 24))
FEATURES = ("lamp_red", "goal_x", "goal_y")
INFO = DatasetInfo(DATASET_SCHEMA, "reach_cued", 10.0, CAMERAS, JOINTS, JOINTS, FEATURES)


def random_episode(ticks: int, seed: int) -> EpisodeArrays:
    generator = np.random.default_rng(seed)
    phases = generator.uniform(0, 2 * np.pi, len(JOINTS))
    joints = 0.3 * np.sin(0.3 * np.arange(ticks)[:, None] + phases)
    images = {c.name: generator.integers(0, 256, (ticks, c.height, c.width, 3), dtype=np.uint8) for c in CAMERAS}
    stamps_ns = 7 * PERIOD_NS + PERIOD_NS * np.arange(ticks, dtype=np.int64)
    features = generator.uniform(0, 1, (ticks, len(FEATURES))).astype(np.float32)
    return EpisodeArrays(stamps_ns, joints.astype(np.float32), (joints + 0.05).astype(np.float32), images, features)


def write_small_dataset(folder: Path, lengths: tuple[int, ...] = (15, 9, 22)) -> Path:
    create_dataset(folder, INFO)
    for seed, ticks in enumerate(lengths):
        write_episode(
            folder, f"episode_{seed:07d}", random_episode(ticks, seed), seed=seed, success=True, reason="reached"
        )
    return folder


def small_config(dataset: Path, output: Path, **changes: object) -> TrainingConfig:
    settings: dict[str, object] = {
        "steps": 8,
        "batch_windows": 8,
        "windows_per_episode": 4,
        "checkpoint_every": 3,
        "threads": 1,
        "context": ContextConfig(4, 2),
        "chunk": ChunkConfig(2, 6, 2),
        "model": ModelConfig(encoder=EncoderConfig((8, 8), 6), unet=UnetConfig((16, 32), 3, 2)),
        "sampling_steps": 4,
        "cameras": {"front": ViewConfig(16, 16, 0.75), "wrist": ViewConfig(24, 24)},
    }
    return TrainingConfig("small", dataset, output, **(settings | changes))  # type: ignore[arg-type]


def small_spec(**changes: object) -> PolicySpec:
    return policy_spec(small_config(Path("."), Path("."), **changes), INFO)
