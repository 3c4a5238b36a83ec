import dataclasses
from pathlib import Path

import pytest
import yaml

from policy_server.model.policy import ModelConfig
from policy_server.runtime import configuration
from policy_server.runtime.errors import ConfigurationError
from policy_server.training.configuration import (
    AugmentationConfig,
    ChunkConfig,
    ContextConfig,
    DistillationConfig,
    EncoderTraining,
    HistoryConfig,
    TrainingConfig,
    ValidationConfig,
    ViewConfig,
    check_settings,
    most_sampling_steps,
    policy_spec,
)
from policy_server.training.stages import StagesConfig, head
from tests.small_policy import FEATURES, INFO, small_config, small_spec
from tests.synthetic_bundle import JOINTS

RECIPES = Path(__file__).parents[3] / "config/training"
WEIGHTS, RUN = Path("encoder.safetensors"), Path("runs/train/teacher")
FEATURES_ONLY = {"features": True, "cameras": {}}

REFUSED: list[tuple[dict[str, object], str]] = [
    ({"steps": 0}, "steps=0"),
    ({"accumulate": 0}, "accumulate=0"),
    ({"context": ContextConfig(0, 2)}, "context.length=0"),
    ({"history": HistoryConfig(dropout=1.2)}, "history.dropout=1.2"),
    ({"history": HistoryConfig("progressive", 5)}, "history.shortest=5 is longer than context.length=4"),
    ({"batch_windows": 9}, "batch_windows=9 must be a multiple"),
    ({"past_targets": 3}, "past_targets=3"),
    ({"past_targets": 1}, "chunk of 7 steps"),
    ({"chunk": ChunkConfig(2, 6, 7)}, "replan_every_ticks=7"),
    ({"sampling_steps": 101}, "sampling_steps=101"),
    ({"cameras": {"front": ViewConfig(crop=0.0)}}, "cameras.front.crop=0.0"),
    ({"cameras": {}}, "cameras: give at least one"),
    ({"features": True}, "features=true goes without cameras"),
    ({"cameras": {"rear": ViewConfig()}}, "'rear' was not recorded"),
    ({**FEATURES_ONLY, "augmentation": AugmentationConfig(4)}, "features=true has no pictures"),
    ({"encoder": EncoderTraining("frozen")}, "needs encoder.weights"),
    ({"encoder": EncoderTraining("cached", WEIGHTS, unfreeze_at_step=5)}, "goes with encoder.mode=frozen"),
    ({"encoder": EncoderTraining(unfreeze_at_step=5)}, "goes with encoder.mode=frozen"),
    (
        {"encoder": EncoderTraining("cached", WEIGHTS), "augmentation": AugmentationConfig(brightness=0.1)},
        "embeddings of unchanged pictures",
    ),
    ({"validation": ValidationConfig(5, ("true",))}, "must write its result"),
    ({"distill": DistillationConfig(teacher_hash="ab")}, "goes with distill.teacher"),
    ({"distill": DistillationConfig(RUN)}, "sampling_steps=4: the student learns 1 to distill.student_steps=3"),
    ({"distill": DistillationConfig(RUN, student_steps=0)}, "distill.student_steps=0"),
    ({"distill": DistillationConfig(RUN, teacher_steps=101)}, "distill.teacher_steps=101"),
    ({"distill": DistillationConfig(RUN, student_steps=11)}, "student_steps=11 is more than distill.teacher_steps=10"),
    ({"distill": DistillationConfig(RUN), "start_from": RUN}, "goes without start_from and lora"),
    ({"distill": DistillationConfig(RUN), "model": ModelConfig(prediction="noise")}, "predicts the clean chunk"),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_settings_that_cannot_be_are_refused_with_the_reason(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        small_spec(**changes)
    assert reason in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_dataset_without_features_cannot_train_a_policy_of_features() -> None:
    with pytest.raises(ConfigurationError, match="has none recorded"):
        policy_spec(small_config(Path(), Path(), **FEATURES_ONLY), dataclasses.replace(INFO, features=()))


def test_a_policy_of_features_has_no_camera_and_no_embedding() -> None:
    spec = small_spec(**FEATURES_ONLY)
    assert spec.cameras == () and spec.history.embedding_dim == 0
    assert spec.state_names == (*JOINTS, *FEATURES)
    assert spec.row_width == 1 + len(JOINTS) + len(FEATURES)


@pytest.mark.parametrize(("past_targets", "past_steps"), [("all", 2), ("none", 0), (2, 2), (0, 0)])
def test_past_actions_that_are_no_targets_are_not_in_the_chunk(past_targets: str | int, past_steps: int) -> None:
    action = small_spec(past_targets=past_targets).action
    assert (action.past_steps, action.future_steps) == (past_steps, 6)


def test_the_oldest_look_lies_all_strides_back() -> None:
    assert small_spec(context=ContextConfig(4, 3)).history.offsets_ticks == (9, 6, 3, 0)
    assert small_spec(context=ContextConfig(1, 3)).history.offsets_ticks == (0,)


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("reach_cued*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_of_the_shipped_bundle_can_be_read(recipe: Path) -> None:
    config = configuration.load(TrainingConfig, recipe)
    info = dataclasses.replace(INFO, cameras=(dataclasses.replace(INFO.cameras[0], height=128, width=128),))
    spec = policy_spec(config, info)
    assert (spec.action.past_steps, spec.action.future_steps) == (4, 12)
    assert config.history == HistoryConfig("full") and config.encoder.mode == "end_to_end"


def test_the_recipe_of_a_forgetful_student_has_what_makes_its_teacher() -> None:
    student = configuration.load(TrainingConfig, RECIPES / "student_forgetful.yaml")
    teacher = configuration.load(TrainingConfig, RECIPES / "student_forgetful_teacher.yaml")
    assert student.distill.teacher == teacher.output
    for name in ("dataset", "features", "context", "chunk", "model", "diffusion_steps", "episodes"):
        assert getattr(student, name) == getattr(teacher, name), name
    check_settings(student)


def test_the_recipe_of_a_student_has_what_makes_its_teacher() -> None:
    student = configuration.load(TrainingConfig, RECIPES / "press_count_student.yaml")
    teacher = configuration.load(StagesConfig, RECIPES / "stages_press_count.yaml")
    assert student.distill.teacher == teacher.training.output
    assert student.encoder == head(teacher).encoder
    for name in ("dataset", "cameras", "context", "chunk", "model", "diffusion_steps", "episodes"):
        assert getattr(student, name) == getattr(teacher.training, name), name
    check_settings(student)


def test_a_student_samples_in_no_more_steps_than_it_was_taught() -> None:
    config = small_config(Path(), Path())
    assert most_sampling_steps(config) == config.diffusion_steps == 100
    assert most_sampling_steps(dataclasses.replace(config, distill=DistillationConfig(RUN, student_steps=2))) == 2


def test_a_configuration_survives_its_file(tmp_path: Path) -> None:
    config = small_config(
        tmp_path,
        tmp_path,
        past_targets=2,
        history=HistoryConfig("sprinkle", 1, dropout=0.25),
        encoder=EncoderTraining("frozen", WEIGHTS, 100),
        validation=ValidationConfig(500),
    )
    file = tmp_path / "training.yaml"
    file.write_text(yaml.safe_dump(configuration.to_plain(config)))
    assert configuration.load(TrainingConfig, file) == config
    changed = configuration.load(TrainingConfig, file, ["past_targets=none", "history.curriculum=progressive"])
    assert changed.past_targets == "none" and changed.history.curriculum == "progressive"
