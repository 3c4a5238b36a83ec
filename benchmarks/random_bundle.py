"""A bundle of the real networks with random weights, for measuring speed: its chunks hold the arm where it is."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from policy_server.export.writing import write_bundle
from policy_server.model.policy import DiffusionPolicy, ModelConfig
from policy_server.runtime import configuration
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.recording import DATASET_SCHEMA, CameraShape, DatasetInfo
from policy_server.runtime.resources import resource
from policy_server.training.configuration import ContextConfig, TrainingConfig, ViewConfig, policy_spec

JOINTS = (*(f"fr3_joint{i}" for i in range(1, 8)), "fr3_finger_joint1")
_STILL = 1e-4


def write_random_bundle(
    folder: Path, cameras: Sequence[CameraShape], context: ContextConfig, input_pixels: int = 96
) -> Path:
    """The shipped recipe's networks over the given cameras and context; every camera is shown as ``input_pixels`` squared."""
    policy, spec = random_policy(cameras, context, input_pixels)
    write_bundle(policy, spec, folder, {"how": "random weights, for benchmarks"})
    return folder


def random_policy(
    cameras: Sequence[CameraShape],
    context: ContextConfig,
    input_pixels: int = 96,
    model: ModelConfig | None = None,
    sampling_steps: int | None = None,
) -> tuple[DiffusionPolicy, PolicySpec]:
    """The same before it is exported; with other networks, or another number of sampling steps, where they are given."""
    torch.manual_seed(0)
    views = {camera.name: ViewConfig(input_pixels, input_pixels) for camera in cameras}
    recipe = configuration.read_yaml(resource("config/training/reach_cued.yaml"))
    recipe |= {"name": "random", "cameras": configuration.to_plain(views), "context": configuration.to_plain(context)}
    config = configuration.build(TrainingConfig, recipe, "the shipped recipe")
    config = dataclasses.replace(
        config, model=model or config.model, sampling_steps=sampling_steps or config.sampling_steps
    )
    info = DatasetInfo(DATASET_SCHEMA, "reach_cued", 10.0, tuple(cameras), JOINTS, JOINTS)
    spec = policy_spec(config, info)
    policy = DiffusionPolicy(spec, config.model)
    policy.scaling.action_half_range.fill_(_STILL)
    return policy, spec
