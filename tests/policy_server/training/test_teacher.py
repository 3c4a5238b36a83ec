import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from policy_server.model.encoder import EncoderConfig
from policy_server.model.policy import DiffusionPolicy
from policy_server.model.unet import UnetConfig
from policy_server.runtime.errors import ConfigurationError
from policy_server.training.checkpoint import choose_checkpoint
from policy_server.training.configuration import (
    ChunkConfig,
    ContextConfig,
    DistillationConfig,
    EncoderTraining,
    TrainingConfig,
    policy_spec,
)
from policy_server.training.teacher import TeacherError, hash_of
from tests.policy_server.training.student_runs import FEATURES_ONLY, student_of, take_steps, trained_teacher, trainer
from tests.small_policy import INFO, small_config


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    """Not to be changed."""
    return trained_teacher(tmp_path_factory.mktemp("run"), **FEATURES_ONLY)


@pytest.fixture(scope="module")
def seeing_teacher(tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    """With an encoder, not to be changed."""
    return trained_teacher(tmp_path_factory.mktemp("run"))


def test_a_student_of_the_same_form_starts_as_its_teacher(teacher: TrainingConfig) -> None:
    student = trainer(student_of(teacher)).model.state_dict()
    for name, value in choose_checkpoint(teacher.output).average.items():
        torch.testing.assert_close(student[name], value, rtol=0, atol=0)


def test_a_smaller_student_takes_the_scaling_and_the_parts_that_fit(seeing_teacher: TrainingConfig) -> None:
    smaller = dataclasses.replace(seeing_teacher.model, unet=UnetConfig((16,), 3, 2))
    student = trainer(student_of(seeing_teacher, model=smaller)).model
    given = choose_checkpoint(seeing_teacher.output).average
    for part in ("encoder", "scaling"):
        for name, value in student.get_submodule(part).state_dict().items():
            torch.testing.assert_close(value, given[f"{part}.{name}"], rtol=0, atol=0)
    sizes = [
        sum(p.numel() for p in policy.denoiser.parameters()) for policy in (student, trainer(seeing_teacher).model)
    ]
    assert sizes[0] < sizes[1]


def test_a_denoiser_that_predicted_noise_is_not_where_a_student_starts(tmp_path: Path) -> None:
    base = small_config(tmp_path, tmp_path).model
    teacher = trained_teacher(tmp_path, model=dataclasses.replace(base, prediction="noise"), **FEATURES_ONLY)
    student = trainer(student_of(teacher, model=base)).model
    given = choose_checkpoint(teacher.output).average
    own = dict(student.denoiser.named_parameters())
    assert any(not torch.equal(value, given[f"denoiser.{name}"]) for name, value in own.items())


def test_the_teacher_is_not_trained_and_no_part_of_the_student(teacher: TrainingConfig) -> None:
    run = trainer(student_of(teacher))
    assert run.teacher is not None
    before = hash_of(run.teacher.policy.state_dict())
    take_steps(run, 2)
    assert hash_of(run.teacher.policy.state_dict()) == before == run.teacher.weights_hash
    assert choose_checkpoint(run.config.output).model.keys() == choose_checkpoint(teacher.output).model.keys()


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"context": ContextConfig(3, 2)}, r"context offsets \(6, 4, 2, 0\), the student \(4, 2, 0\)"),
    ({"chunk": ChunkConfig(4, 4, 2)}, "past steps 2, the student 4"),
    ({"chunk": ChunkConfig(2, 2, 2)}, "future steps 6, the student 2"),
    ({"diffusion_steps": 50}, "diffusion_steps 100, the student 50"),
    ({"episodes": 2}, "its statistics are of those"),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED, ids=[str(changes) for changes, _ in REFUSED])
def test_a_teacher_of_another_policy_is_refused(
    teacher: TrainingConfig, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(TeacherError, match=reason) as refusal:
        trainer(student_of(teacher, **changes))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("key", "value"), [("actions", "absolute"), ("action_scaling", "chunk")])
def test_a_teacher_in_other_units_is_refused(teacher: TrainingConfig, key: str, value: str) -> None:
    model = dataclasses.replace(teacher.model, **{key: value})
    with pytest.raises(TeacherError, match=f"model.{key}"):
        trainer(student_of(teacher, model=model))


def test_a_teacher_that_is_not_there_is_refused(teacher: TrainingConfig, tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="no checkpoint in"):
        trainer(student_of(teacher, distill=DistillationConfig(tmp_path / "nowhere")))


def test_a_teacher_with_other_weights_than_meant_is_refused(teacher: TrainingConfig) -> None:
    meant = DistillationConfig(teacher.output, teacher_hash="0" * 64, teacher_steps=3, student_steps=2)
    with pytest.raises(TeacherError, match="not 000000000000"):
        trainer(student_of(teacher, distill=meant))


def test_a_student_goes_on_with_the_weights_that_taught_it_and_with_no_others(
    tmp_path: Path,
) -> None:
    teacher = trained_teacher(tmp_path, **FEATURES_ONLY)
    config = student_of(teacher)
    take_steps(trainer(config), 2)
    moved = tmp_path / "moved"
    teacher.output.rename(moved)
    elsewhere = dataclasses.replace(config, distill=dataclasses.replace(config.distill, teacher=moved))
    resumed = trainer(elsewhere)
    resumed.resume()
    assert resumed.step == 2
    longer = trainer(dataclasses.replace(teacher, output=moved))
    longer.resume()
    take_steps(longer, 1)
    with pytest.raises(TeacherError, match="has been trained on, or is another one"):
        trainer(elsewhere).resume()


def test_a_student_and_an_ordinary_run_are_not_continued_as_each_other(teacher: TrainingConfig) -> None:
    config = student_of(teacher)
    with pytest.raises(ConfigurationError, match="another configuration"):
        trainer(dataclasses.replace(config, output=teacher.output)).resume()


def encoder_file(config: TrainingConfig, file: Path) -> Path:
    torch.manual_seed(17)
    save_file(DiffusionPolicy(policy_spec(config, INFO), config.model).encoder.state_dict(), file)
    return file


def test_embeddings_of_another_encoder_are_refused(seeing_teacher: TrainingConfig, tmp_path: Path) -> None:
    cached = EncoderTraining("cached", encoder_file(seeing_teacher, tmp_path / "encoder.safetensors"))
    with pytest.raises(TeacherError, match=r"embeddings of '.*encoder\.safetensors'"):
        trainer(student_of(seeing_teacher, encoder=cached))


def test_a_frozen_encoder_is_the_teacher_s_or_was_trained(seeing_teacher: TrainingConfig) -> None:
    student = trainer(student_of(seeing_teacher, encoder=EncoderTraining("frozen")))
    take_steps(student, 1)
    given = choose_checkpoint(seeing_teacher.output).average
    for name, value in student.average.items():
        if name.startswith("encoder."):
            torch.testing.assert_close(value, given[name], rtol=0, atol=0)
    smaller = dataclasses.replace(seeing_teacher.model, encoder=EncoderConfig((8,), 6))
    with pytest.raises(TeacherError, match="of another form"):
        trainer(student_of(seeing_teacher, model=smaller, encoder=EncoderTraining("frozen")))
