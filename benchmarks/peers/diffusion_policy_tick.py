"""The original ``diffusion_policy`` of Chi et al. at our benchmark's sizes, as a process that makes a tick whenever it is asked for one.

Started by ``bench_tick.py`` with the interpreter of an environment that holds what that repository imports, and with a checkout of it on
``PYTHONPATH``; it imports nothing of ours.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusion_policy.common.normalize_util import get_image_range_normalizer
from diffusion_policy.model.common.normalizer import LinearNormalizer
from diffusion_policy.model.vision.model_getter import get_resnet
from diffusion_policy.model.vision.multi_image_obs_encoder import MultiImageObsEncoder
from diffusion_policy.policy.diffusion_unet_image_policy import DiffusionUnetImagePolicy

from protocol import answer, parse

HORIZON, JOINTS = 16, 8


def make_tick(length: int, arguments: argparse.Namespace) -> Callable[[], None]:
    """``predict_action`` on random pictures in [0, 1] and random joints, all ``length`` observations encoded at every call."""
    torch.manual_seed(0)
    cameras = [f"camera_{i}" for i in range(arguments.cameras)]
    picture = (3, arguments.pixels, arguments.pixels)
    policy = make_policy(length, dict.fromkeys(cameras, picture), arguments.steps)
    observations = {
        **{name: torch.rand(1, length, *picture) for name in cameras},
        "joints": torch.randn(1, length, JOINTS),
    }

    def tick() -> None:
        with torch.inference_mode():
            policy.predict_action(observations)

    return tick


def make_policy(length: int, pictures: dict[str, tuple[int, int, int]], steps: int) -> DiffusionUnetImagePolicy:
    """Equal widths; what is no width is as in its ``train_diffusion_unet_image_workspace.yaml``, but pictures are not cropped.

    ``pictures``: camera → (channels, rows, columns).
    """
    shapes: dict[str, Any] = {
        "obs": {
            **{name: {"shape": shape, "type": "rgb"} for name, shape in pictures.items()},
            "joints": {"shape": (JOINTS,), "type": "low_dim"},
        },
        "action": {"shape": (JOINTS,)},
    }
    encoder = MultiImageObsEncoder(
        shapes, get_resnet("resnet18"), crop_shape=None, use_group_norm=True, share_rgb_model=False, imagenet_norm=True
    )
    policy = DiffusionUnetImagePolicy(
        shapes,
        DDIMScheduler(num_train_timesteps=100, beta_schedule="squaredcos_cap_v2", prediction_type="epsilon"),
        encoder,
        horizon=HORIZON,
        n_action_steps=8,
        n_obs_steps=length,
        num_inference_steps=steps,
        obs_as_global_cond=True,
        diffusion_step_embed_dim=128,
        down_dims=(128, 256, 512),
        kernel_size=5,
        cond_predict_scale=True,
    )
    policy.set_normalizer(make_normalizer(list(pictures)))
    return policy.eval()


def make_normalizer(cameras: list[str]) -> LinearNormalizer:
    """Its own for pictures; for joints and actions fitted to noise."""
    normalizer = LinearNormalizer()
    normalizer.fit({name: torch.randn(100, JOINTS) for name in ("joints", "action")})
    for name in cameras:
        normalizer[name] = get_image_range_normalizer()
    return normalizer


def main() -> None:
    arguments = parse(__doc__)
    torch.set_num_threads(arguments.threads)
    answer({length: make_tick(length, arguments) for length in arguments.contexts})


if __name__ == "__main__":
    main()
