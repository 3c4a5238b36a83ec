"""Demonstrations with two good answers to the same observation: half of them go left, half right, and nothing shown says which."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from policy_server.model.encoder import EncoderConfig
from policy_server.model.policy import DiffusionPolicy, ModelConfig
from policy_server.model.unet import UnetConfig
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.recording import create_dataset, write_episode
from policy_server.training.checkpoint import choose_checkpoint
from policy_server.training.configuration import ContextConfig, OptimizerConfig, TrainingConfig, policy_spec
from policy_server.training.episodes import load_episodes
from policy_server.training.trainer import Trainer
from tests.small_policy import INFO, random_episode, small_config
from tests.synthetic_bundle import JOINTS

LEFT_RAD, RIGHT_RAD = -0.3, 0.3
FEATURES_ONLY = {"features": True, "cameras": {}}
MOVING = 0  # the joint that goes one way or the other; the others stand still
_TICKS = 10


def write_forked_dataset(folder: Path, episodes: int = 24) -> Path:
    create_dataset(folder, INFO)
    for seed in range(episodes):
        still = random_episode(_TICKS, seed)
        side_rad = np.float32(LEFT_RAD if seed % 2 else RIGHT_RAD)
        episode = dataclasses.replace(
            still,
            joints=np.zeros_like(still.joints),
            actions=np.zeros_like(still.actions) + side_rad * np.eye(len(JOINTS), dtype=np.float32)[MOVING],
            features=np.zeros_like(still.features),
        )
        write_episode(folder, f"episode_{seed:07d}", episode, seed=seed, success=True, reason="gone")
    return folder


def forked_config(dataset: Path, output: Path, **changes: object) -> TrainingConfig:
    settings: dict[str, object] = {
        "steps": 250,
        "batch_windows": 32,
        "windows_per_episode": 1,
        "checkpoint_every": 1000,
        "context": ContextConfig(2, 2),
        "model": ModelConfig(actions="absolute", encoder=EncoderConfig((8, 8), 6), unet=UnetConfig((16,), 3, 2)),
        "optimizer": OptimizerConfig(learning_rate=3e-3, warmup_steps=20, ema_max=0.98),
        **FEATURES_ONLY,
    }
    return small_config(dataset, output, **(settings | changes))


def train(config: TrainingConfig) -> Trainer:
    spec = policy_spec(config, INFO)
    trainer = Trainer(config, spec, load_episodes(config.dataset, spec, limit=config.episodes))
    trainer.run()
    return trainer


def sampler_of(run: Path, steps: int) -> DiffusionPolicy:
    """The run's averaged weights, sampling in so many steps."""
    checkpoint = choose_checkpoint(run)
    spec = dataclasses.replace(checkpoint.spec, sampler=dataclasses.replace(checkpoint.spec.sampler, steps=steps))
    policy = DiffusionPolicy(spec, checkpoint.config.model)
    policy.load_state_dict(checkpoint.average)
    return policy.eval()


def forked_context(spec: PolicySpec) -> Tensor:
    """The only context that there is, (1, T, 1 + S)."""
    context = torch.zeros(1, spec.history.length, spec.row_width)
    context[..., 0] = torch.tensor(spec.history.offsets_ticks) / spec.rate_hz
    return context
