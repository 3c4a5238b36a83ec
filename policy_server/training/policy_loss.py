"""The loss of one batch as a module, the form in which it is differentiated and shared among processes."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from policy_server.model.policy import DiffusionPolicy
from policy_server.training.augmentation import augment
from policy_server.training.configuration import TrainingConfig
from policy_server.training.distillation import distillation_loss, visited_steps
from policy_server.training.draws import Purpose, torch_generator
from policy_server.training.rows import Batch, context_rows
from policy_server.training.teacher import Teacher, has_encoder_of


class PolicyLoss(nn.Module):
    """Batch in, loss out; encodes the batch's pictures where it has any.

    ``trains_encoder``: whether gradients reach the encoder. ``teacher``: with it the loss is that of distillation.
    """

    def __init__(
        self, policy: DiffusionPolicy, config: TrainingConfig, trains_encoder: bool, teacher: Teacher | None = None
    ) -> None:
        super().__init__()
        self.policy = policy
        self.trains_encoder = trains_encoder
        self._teacher = teacher  # no submodule: it is neither trained nor shared among processes
        self._sees_as_teacher = teacher is not None and not trains_encoder and has_encoder_of(policy, teacher)
        self._visited = visited_steps(config.diffusion_steps, config.distill.student_steps) if teacher else []
        self._seed, self._augmentation = config.seed, config.augmentation
        self._mixed = config.precision == "bfloat16"
        policy.encoder.requires_grad_(trains_encoder)
        policy.encoder.train(trains_encoder)

    def forward(self, batch: Batch, step: int, number: int) -> Tensor:
        """``batch`` is batch ``number`` of ``step``, on the policy's device."""
        pictures = augment(
            batch.images,
            batch.episode_of_image,
            self._augmentation,
            torch_generator(Purpose.AUGMENTATION, self._seed, step, number),
        )
        noise = torch_generator(Purpose.NOISE, self._seed, step, number)
        with torch.autocast(batch.actions.device.type, torch.bfloat16, enabled=self._mixed):
            with torch.set_grad_enabled(self.trains_encoder):
                embedding = self.policy.encode(pictures).float() if pictures else None
            context = context_rows(batch, embedding)
            if self._teacher is None:
                return self.policy.loss(context, batch.actions, noise, visible=batch.visible, weights=batch.weights)
            return distillation_loss(
                self.policy,
                self._teacher,
                context,
                self._seen_by_teacher(self._teacher, batch, pictures, context),
                self._visited,
                noise,
                visible=batch.visible,
                weights=batch.weights,
            )

    def _seen_by_teacher(
        self, teacher: Teacher, batch: Batch, pictures: Mapping[str, Tensor], context: Tensor
    ) -> Tensor:
        """The context by the teacher's own encoder, of the same pictures; the student's where both encode alike, or nothing is encoded."""
        if not pictures or self._sees_as_teacher:
            return context
        with torch.no_grad():
            return context_rows(batch, teacher.policy.encode(pictures).float())
