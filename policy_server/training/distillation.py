"""Distillation of the teacher's whole DDIM walk into a student of one to a few steps.

The teacher walks from a noise to its answer; the student learns that answer, from the same noise (Luhman & Luhman 2021,
arXiv 2101.02388) and from every point between the two that its own sampler will pass (reflow: Liu, Gong & Liu 2022,
arXiv 2209.03003, here along DDIM's arc instead of a straight line). Where the plain denoising loss asks for the mean of all chunks that
a noisy one may have come from, here each noise has one answer, so that one step need not answer with a mean. Why this one and not
consistency distillation: docs/adr/0022.
"""

import torch
from torch import Tensor

from policy_server.model.diffusion import Diffusion
from policy_server.model.policy import DiffusionPolicy
from policy_server.training.teacher import Teacher


def visited_steps(training_steps: int, most: int) -> list[list[int]]:
    """The steps of the training schedule that samplers of 1, 2, … ``most`` steps pass, e.g. [[99], [99, 49], [99, 66, 32]]."""
    samplers = (Diffusion(training_steps, steps, "clean") for steps in range(1, most + 1))
    return [sampler.sampling_steps.long().tolist() for sampler in samplers]


def draw_steps(visited: list[list[int]], count: int, generator: torch.Generator) -> Tensor:
    """Steps int64 (count,): each sampler of ``visited`` is as likely as another, and so is each of its steps."""
    shares = [1 / len(steps) for steps in visited for _ in steps]
    drawn = torch.multinomial(torch.tensor(shares), count, replacement=True, generator=generator)
    return torch.tensor([step for steps in visited for step in steps])[drawn]


def distillation_loss(
    student: DiffusionPolicy,
    teacher: Teacher,
    context: Tensor,
    taught_from: Tensor,
    visited: list[list[int]],
    generator: torch.Generator,
    *,
    visible: Tensor | None,
    weights: Tensor,
) -> Tensor:
    """Mean squared error of the student's clean chunk from the teacher's answer to the same noise, in scaled units.

    Args:
        context: (B, T, 1 + E + S), of the student's encoder; ``taught_from``: the same of the teacher's.
        visited: see ``visited_steps``.
        generator: on the CPU; draws the noise and the steps.
        visible: bool (B, T) or None, as in ``DiffusionPolicy.project``; both see the same.
        weights: float (H,) or (B, H), as in ``DiffusionPolicy.loss``.
    """
    shape = (len(context), *student.scaling.action_middle.shape)
    noise = torch.randn(shape, generator=generator).to(context.device)
    step = draw_steps(visited, len(context), generator).to(context.device)
    weights = weights.expand(shape[:2])
    answer = teacher.answer(taught_from, noise, visible, weights)
    noisy = student.diffusion.add_noise(answer, noise, step)
    noisy = torch.where(weights[..., None] > 0, noisy, noise)
    predicted = student.predict_once(noisy, step.float(), context, visible)
    errors = (predicted.float() - answer).square().mean(-1)
    return (weights * errors).sum() / weights.sum()
