"""LeRobot's diffusion policy at our benchmark's sizes, as a process that makes a tick whenever it is asked for one.

Started by ``bench_tick.py --lerobot-python PYTHON`` with the interpreter of an environment that holds LeRobot; it imports nothing of ours.
"""

import argparse
from collections.abc import Callable

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.diffusion.modeling_diffusion import DiffusionModel

from protocol import answer, parse

HORIZON, JOINTS = 16, 8


def make_tick(length: int, arguments: argparse.Namespace) -> Callable[[], None]:
    """A chunk from random pictures and joints, all ``length`` observations encoded at every call."""
    model = make_model(length, arguments.cameras, arguments.pixels, arguments.steps)
    batch = {
        "observation.images": torch.rand(1, length, arguments.cameras, 3, arguments.pixels, arguments.pixels),
        "observation.state": torch.randn(1, length, JOINTS),
    }

    def tick() -> None:
        # Not ``generate_actions``: that cuts the chunk behind the context, for which the chunk would have to be as long as the context.
        with torch.inference_mode():
            model.conditional_sample(1, global_cond=model._prepare_global_conditioning(batch))

    return tick


def make_model(length: int, cameras: int, pixels: int, steps: int) -> DiffusionModel:
    """Equal widths: ResNet-18 with GroupNorm, UNet 128/256/512; a chunk of 16 steps whatever the context's length."""
    torch.manual_seed(0)
    features = {
        f"observation.images.{i}": PolicyFeature(FeatureType.VISUAL, (3, pixels, pixels)) for i in range(cameras)
    }
    features["observation.state"] = PolicyFeature(FeatureType.STATE, (JOINTS,))
    config = DiffusionConfig(
        n_obs_steps=length,
        horizon=HORIZON,
        n_action_steps=8,
        input_features=features,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (JOINTS,))},
        crop_shape=None,
        vision_backbone="resnet18",
        pretrained_backbone_weights=None,
        use_group_norm=True,
        use_separate_rgb_encoder_per_camera=True,
        down_dims=(128, 256, 512),
        kernel_size=5,
        noise_scheduler_type="DDIM",
        num_inference_steps=steps,
        device="cpu",
    )
    return DiffusionModel(config).eval()


def main() -> None:
    arguments = parse(__doc__)
    torch.set_num_threads(arguments.threads)
    answer({length: make_tick(length, arguments) for length in arguments.contexts})


if __name__ == "__main__":
    main()
