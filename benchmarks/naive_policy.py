"""What people run today, with our own networks: eager PyTorch, every frame of the context encoded at every tick, keys and values of
the context computed in every denoising step, and the scheduler of ``diffusers`` around it."""

from collections.abc import Callable

import numpy as np
import torch
from diffusers import DDIMScheduler

from policy_server.model.policy import DiffusionPolicy


def naive_tick(policy: DiffusionPolicy, pixels: int, length: int, threads: int) -> Callable[[], None]:
    """One tick over a context of ``length`` frames of ``pixels`` squared per camera: frames in, chunk out."""
    policy.eval()
    generator = torch.Generator().manual_seed(0)
    frames = {
        name: torch.randint(0, 256, (length, pixels, pixels, 3), dtype=torch.uint8, generator=generator)
        for name in policy.encoder.camera_names
    }
    states = torch.randn(length, policy.states, generator=generator)
    ages_s = torch.arange(length - 1, -1, -1) / policy.rate_hz
    scheduler = DDIMScheduler(
        num_train_timesteps=policy.diffusion.training_steps,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample" if policy.diffusion.prediction == "clean" else "epsilon",
        clip_sample=True,
        timestep_spacing="trailing",
    )
    horizon, actions = policy.scaling.action_middle.shape

    def tick() -> None:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            context = torch.cat([ages_s[:, None], policy.encode(frames), states], dim=1)[None]
            scheduler.set_timesteps(len(policy.diffusion.sampling_steps))
            chunk = torch.randn(1, horizon, actions, generator=generator)
            for step in scheduler.timesteps:
                predicted = policy.predict(chunk, step[None].float(), policy.project(context))
                chunk = scheduler.step(predicted, step, chunk).prev_sample
            np.asarray(policy.scaling.unscale_actions(chunk) + policy.anchor(context))

    return tick
