"""Random changes of the training pictures: the same for all pictures of one episode and camera in a batch.

A context whose pictures were changed one by one would show a world that jumps.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from policy_server.training.configuration import AugmentationConfig

_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


def augment(
    images: Mapping[str, Tensor], episode_of_image: Tensor, config: AugmentationConfig, generator: torch.Generator
) -> Mapping[str, Tensor]:
    """Camera → pictures (F, height, width, 3), 0 to 255: uint8 as they come when nothing is asked for, else float32.

    Args:
        episode_of_image: int64 (F,), 0 to E - 1.
        generator: on the processor, so that the draws are the same on every device.
    """
    if config == AugmentationConfig() or not images:
        return images
    episodes = int(episode_of_image.max()) + 1
    largest = torch.tensor([config.brightness, config.contrast, config.saturation])
    changed = {}
    for name, pictures in images.items():
        shifts = torch.randint(-config.shift_pixels, config.shift_pixels + 1, (episodes, 2), generator=generator)
        factors = 1 + largest * (2 * torch.rand(episodes, 3, generator=generator) - 1)
        moved = shifted(pictures, shifts.to(pictures.device)[episode_of_image])
        changed[name] = jittered(moved.float(), factors.to(pictures.device)[episode_of_image])
    return changed


def shifted(pictures: Tensor, pixels: Tensor) -> Tensor:
    """Pictures (F, height, width, 3) moved by ``pixels`` int64 (F, 2) down and right; the edge is repeated."""
    height, width = pictures.shape[1:3]
    device = pictures.device
    rows = (torch.arange(height, device=device) - pixels[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width, device=device) - pixels[:, 1:]).clamp(0, width - 1)
    return pictures[torch.arange(len(pictures), device=device)[:, None, None], rows[:, :, None], columns[:, None, :]]


def jittered(pictures: Tensor, factors: Tensor) -> Tensor:
    """Pictures float32 (F, height, width, 3) with their brightness, contrast and saturation multiplied by ``factors`` (F, 3)."""
    brightness, contrast, saturation = (factor[:, None, None, None] for factor in factors.T)
    pictures = (pictures * brightness).clamp(0, 255)
    weights = torch.tensor(_GREY, device=pictures.device)
    mean = (pictures @ weights).mean((1, 2))[:, None, None, None]
    pictures = torch.lerp(mean, pictures, contrast).clamp(0, 255)
    grey = (pictures @ weights)[..., None]
    return torch.lerp(grey, pictures, saturation).clamp(0, 255)
