"""LeRobot's diffusion policy at our benchmark's sizes, as a process that makes a tick whenever it is asked for one.

Started by ``bench_tick.py --lerobot-python PYTHON`` with the interpreter of an environment that holds LeRobot; it imports nothing of ours.
Protocol: a line with a context length comes in; a line with the milliseconds of that tick goes out.
"""

import argparse
import sys
import time

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.diffusion.modeling_diffusion import DiffusionModel

HORIZON, JOINTS = 16, 8


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
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    models = {
        length: make_model(length, arguments.cameras, arguments.pixels, arguments.steps)
        for length in arguments.contexts
    }
    batches = {
        length: {
            "observation.images": torch.rand(1, length, arguments.cameras, 3, arguments.pixels, arguments.pixels),
            "observation.state": torch.randn(1, length, JOINTS),
        }
        for length in models
    }
    print("ready", flush=True)
    for line in sys.stdin:
        length = int(line)
        begun_s = time.perf_counter()
        # Not ``generate_actions``: that cuts the chunk behind the context, for which the chunk would have to be as long as the context.
        with torch.inference_mode():
            condition = models[length]._prepare_global_conditioning(batches[length])
            models[length].conditional_sample(1, global_cond=condition)
        print(1e3 * (time.perf_counter() - begun_s), flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contexts", type=int, nargs="+", required=True)
    parser.add_argument("--cameras", type=int, default=1)
    parser.add_argument("--pixels", type=int, default=96)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
