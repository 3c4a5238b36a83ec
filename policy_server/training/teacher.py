"""The teacher of a student: the frozen policy of another run, whose answers are the targets of distillation."""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.manifest import PolicySpec
from policy_server.training.checkpoint import Checkpoint, choose_checkpoint
from policy_server.training.configuration import TrainingConfig


class TeacherError(ConfigurationError):
    """The teacher of ``distill`` is missing, is not the one that was meant, or is of another form than its student."""


@dataclass(frozen=True)
class Teacher:
    """A frozen policy that samples in ``distill.teacher_steps`` steps.

    ``policy``: averaged weights, no gradients. ``weights_hash``: sha256 of them. ``prediction``: what its networks predict.
    """

    policy: DiffusionPolicy
    weights_hash: str
    prediction: str

    def answer(self, context: Tensor, noise: Tensor, visible: Tensor | None, weights: Tensor) -> Tensor:
        """The scaled chunk (B, H, A) at the end of the teacher's whole DDIM walk from ``noise``, always in float32.

        Args:
            context: (B, T, 1 + E + S), encoded by the teacher's own encoder.
            noise: (B, H, A).
            visible: see ``DiffusionPolicy.project``.
            weights: (B, H). Rows of weight 0 stay noise throughout, as the teacher saw rows that it was not to learn.
        """
        policy, is_learned = self.policy, weights[..., None] > 0
        with torch.no_grad(), torch.autocast(context.device.type, enabled=False):
            memory = policy.project(context, visible)

            def predict(noisy: Tensor, step: Tensor) -> Tensor:
                return policy.predict(torch.where(is_learned, noisy, noise), step, memory)

            return policy.diffusion.sample(predict, noise)


def read_teacher(config: TrainingConfig, spec: PolicySpec, episodes: str) -> Teacher:
    """The teacher that ``config.distill`` names, for a student of ``spec`` on the episodes with this fingerprint.

    Raises:
        TeacherError: there is no such run, its weights are not those of ``teacher_hash``, or it sees, remembers, scales or answers
            something else than the student, or was trained on other episodes.
    """
    distill = config.distill
    assert distill.teacher is not None
    try:
        checkpoint = choose_checkpoint(distill.teacher, distill.teacher_checkpoint)
    except ConfigurationError as error:
        raise TeacherError(f"distill.teacher: {error}") from None
    found = hash_of(checkpoint.average)
    check_hash(config, distill.teacher_hash, found)
    for name, of_teacher, of_student, mend in _must_agree(checkpoint, config, spec, episodes):
        if of_teacher != of_student:
            raise TeacherError(
                f"distill.teacher: '{distill.teacher}' has {name} {of_teacher}, the student {of_student}: {mend}"
            )
    sampler = dataclasses.replace(checkpoint.spec.sampler, steps=distill.teacher_steps)
    policy = DiffusionPolicy(dataclasses.replace(checkpoint.spec, sampler=sampler), checkpoint.config.model)
    policy.load_state_dict(checkpoint.average)
    return Teacher(policy.eval().requires_grad_(False), found, checkpoint.config.model.prediction)


def check_hash(config: TrainingConfig, expected: str, found: str) -> None:
    """Raises TeacherError when the teacher's weights are others than those ``expected``; an empty hash expects nothing."""
    if expected and expected != found:
        raise TeacherError(
            f"distill.teacher: the weights in '{config.distill.teacher}' have sha256 {found[:12]}…, not {expected[:12]}…: the run "
            "has been trained on, or is another one; bring it back, or choose another output for a new student"
        )


def start_student(student: DiffusionPolicy, teacher: Teacher, prediction: str) -> list[str]:
    """Give the student the teacher's scaling, in whose units it is taught, and its encoder and denoiser where they are of the same form.

    Returns:
        which of ``encoder`` and ``denoiser`` were taken over; the others begin at random. A denoiser that predicts something else than
        the student's is not taken over.
    """
    student.scaling.load_state_dict(teacher.policy.scaling.state_dict())
    taken = []
    for name in ("encoder", "denoiser"):
        own, given = student.get_submodule(name), teacher.policy.get_submodule(name).state_dict()
        if _form(own.state_dict()) != _form(given) or (name == "denoiser" and prediction != teacher.prediction):
            continue
        own.load_state_dict(given)
        taken.append(name)
    return taken


def has_encoder_of(student: DiffusionPolicy, teacher: Teacher) -> bool:
    """Whether the two encode a picture alike, weight for weight."""
    own, given = student.encoder.state_dict(), teacher.policy.encoder.state_dict()
    return _form(own) == _form(given) and all(
        torch.equal(own[name].cpu(), value.cpu()) for name, value in given.items()
    )


def check_encoder(student: DiffusionPolicy, teacher: Teacher, config: TrainingConfig) -> None:
    """Raises TeacherError when embeddings that were written once are not the teacher's, or an encoder is kept that never learned."""
    encoder = config.encoder
    if encoder.mode == "end_to_end" or has_encoder_of(student, teacher):
        return
    if encoder.mode == "cached":
        raise TeacherError(
            f"distill.teacher: encoder.mode=cached reads embeddings of '{encoder.weights}', and the encoder of "
            f"'{config.distill.teacher}' is another: give the encoder.weights that it was trained with, or encoder.mode=frozen"
        )
    if encoder.weights is None:
        raise TeacherError(
            f"distill.teacher: encoder.mode=frozen keeps the encoder of '{config.distill.teacher}', and model.encoder is of another "
            "form: give the same model.encoder, or encoder.weights, or encoder.mode=end_to_end"
        )


def hash_of(weights: Mapping[str, Tensor]) -> str:
    """sha256 over the names, forms and values of ``weights``, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _must_agree(
    checkpoint: Checkpoint, config: TrainingConfig, spec: PolicySpec, episodes: str
) -> Iterator[tuple[str, Any, Any, str]]:
    """(name, the teacher's, the student's, mend) of all that must be the same."""
    theirs, mend = checkpoint.spec, "train the student with what its teacher has"
    yield "task", theirs.task, spec.task, "distill on demonstrations of its task"
    yield "rate_hz", theirs.rate_hz, spec.rate_hz, mend
    yield "cameras", theirs.cameras, spec.cameras, mend
    yield "features", theirs.features, spec.features, mend
    yield "joints", theirs.proprioception_joints, spec.proprioception_joints, mend
    yield "context offsets", theirs.history.offsets_ticks, spec.history.offsets_ticks, mend
    yield "action joints", theirs.action.joints, spec.action.joints, mend
    yield "past steps", theirs.action.past_steps, spec.action.past_steps, mend
    yield "future steps", theirs.action.future_steps, spec.action.future_steps, mend
    yield "diffusion_steps", theirs.sampler.training_steps, spec.sampler.training_steps, mend
    yield "model.actions", checkpoint.config.model.actions, config.model.actions, mend
    yield "model.action_scaling", checkpoint.config.model.action_scaling, config.model.action_scaling, mend
    same = "its statistics are of those; give dataset and episodes as it was trained with"
    yield "episodes", checkpoint.episodes[:12], episodes[:12], same


def _form(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in weights.items()}
