"""The loss of one batch as a module, the form in which it is differentiated and shared among processes."""

import torch
from torch import Tensor, nn

from policy_server.model.policy import DiffusionPolicy
from policy_server.training.augmentation import augment
from policy_server.training.configuration import TrainingConfig
from policy_server.training.draws import Purpose, torch_generator
from policy_server.training.rows import Batch, context_rows


class PolicyLoss(nn.Module):
    """Batch in, loss out; encodes the batch's pictures where it has any.

    ``trains_encoder``: whether gradients reach the encoder.
    """

    def __init__(self, policy: DiffusionPolicy, config: TrainingConfig, trains_encoder: bool) -> None:
        super().__init__()
        self.policy = policy
        self.trains_encoder = trains_encoder
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
            return self.policy.loss(context, batch.actions, noise, visible=batch.visible, weights=batch.weights)
