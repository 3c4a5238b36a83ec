import dataclasses
from pathlib import Path

import pytest

from policy_server.runtime import configuration
from policy_server.runtime.errors import ConfigurationError
from policy_server.training.configuration import (
    AugmentationConfig,
    EncoderTraining,
    HistoryConfig,
    ValidationConfig,
    policy_spec,
)
from policy_server.training.encoder_objectives import DynamicsConfig
from policy_server.training.encoder_pretraining import PretrainingConfig
from policy_server.training.stages import (
    StagesConfig,
    check_stages,
    claim_output,
    finetuning,
    fitted_episodes,
    head,
    short_policy,
)
from tests.small_policy import INFO, small_config, write_small_dataset

ROOT = Path(__file__).parents[3]


def stages(dataset: Path = Path(), output: Path = Path("out"), **changes: object) -> StagesConfig:
    return StagesConfig(small_config(dataset, output, **changes), PretrainingConfig(steps=6))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_small_dataset(tmp_path / "data", (9,) * 6)


@pytest.mark.parametrize("file", sorted((ROOT / "config/training").glob("stages_*.yaml")), ids=lambda file: file.stem)
def test_the_shipped_configurations_are_sound(file: Path) -> None:
    config = configuration.load(StagesConfig, file)
    check_stages(config)
    assert config.training.output != configuration.load(StagesConfig, file, ["training.output=other"]).training.output


def test_the_short_policy_differs_in_what_it_sees_alone(dataset: Path) -> None:
    config = stages(dataset, history=HistoryConfig(dropout=0.5), augmentation=AugmentationConfig(shift_pixels=2))
    short = short_policy(config)
    assert (short.context.length, short.context.stride_ticks) == (2, 2)
    assert short.steps == 6 and short.episodes == 5
    assert short.history == HistoryConfig()
    assert short.augmentation == config.training.augmentation
    assert short.encoder == EncoderTraining()
    policy_spec(short, INFO)


def test_the_head_reads_embeddings_and_changes_no_picture() -> None:
    config = stages(augmentation=AugmentationConfig(shift_pixels=2), validation=ValidationConfig(every=4))
    long = head(config)
    assert long.encoder == EncoderTraining("cached", Path("out/stages/encoder/encoder.safetensors"))
    assert long.augmentation == AugmentationConfig()
    assert long.output == Path("out") and long.validation.every == 4
    policy_spec(long, INFO)


def test_finetuning_goes_on_from_the_head_and_is_the_run_that_is_validated() -> None:
    config = stages(augmentation=AugmentationConfig(shift_pixels=2), validation=ValidationConfig(every=4))
    config = dataclasses.replace(config, finetune_steps=3, finetune_learning_rate=1e-5)
    long, final = head(config), finetuning(config)
    assert long.output == Path("out/stages/head") and long.validation.every == 0
    assert final.start_from == long.output and final.output == Path("out")
    assert final.steps == 3 and final.optimizer.learning_rate == 1e-5
    assert final.encoder == EncoderTraining() and final.validation.every == 4
    assert final.augmentation == config.training.augmentation
    policy_spec(final, INFO)


def test_the_last_episodes_are_held_out(dataset: Path) -> None:
    assert fitted_episodes(stages(dataset)) == 5
    assert fitted_episodes(stages(dataset, episodes=4)) == 3
    third = PretrainingConfig(held_out=0.34)
    assert fitted_episodes(dataclasses.replace(stages(dataset), encoder=third)) == 4
    with pytest.raises(ConfigurationError, match="none is left"):
        fitted_episodes(stages(dataset, episodes=1))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (stages(features=True, cameras={}), "features=true"),
        (stages(encoder=EncoderTraining("frozen", Path("w"))), r"training\.encoder"),
        (stages(start_from=Path("run")), "start_from"),
        (dataclasses.replace(stages(), finetune_steps=-1), "finetune_steps"),
        (dataclasses.replace(stages(), encoder=PretrainingConfig(held_out=1.0)), "held_out"),
        (dataclasses.replace(stages(), encoder=PretrainingConfig(steps=0)), "steps=0"),
        (dataclasses.replace(stages(), encoder=PretrainingConfig(short_context=4)), "short_context=4"),
        (
            dataclasses.replace(stages(), encoder=PretrainingConfig("dynamics", dynamics=DynamicsConfig(window=1))),
            "window=1",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_stages_cannot_follow_is_refused(config: StagesConfig, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_stages(config)


def test_a_folder_takes_one_configuration(tmp_path: Path) -> None:
    config = stages(output=tmp_path / "run")
    claim_output(config)
    claim_output(config)
    free = dataclasses.replace(config, training=dataclasses.replace(config.training, threads=3, checkpoint_every=7))
    claim_output(free)
    for other in (
        dataclasses.replace(config, encoder=PretrainingConfig("dynamics", steps=6)),
        dataclasses.replace(config, finetune_steps=5),
        dataclasses.replace(config, training=dataclasses.replace(config.training, steps=9)),
    ):
        with pytest.raises(ConfigurationError, match="another configuration"):
            claim_output(other)


def test_a_run_that_was_not_trained_in_stages_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").touch()
    with pytest.raises(ConfigurationError, match="not trained in stages"):
        claim_output(stages(output=tmp_path))
