import dataclasses
from pathlib import Path

import pytest
import torch

from policy_server.lora.finetuning import (
    FREE,
    FinetuneConfig,
    as_begun,
    check_same_senses,
    read_base,
    takes_cached_embeddings,
    training_of,
)
from policy_server.model.policy import ModelConfig
from policy_server.runtime import configuration
from policy_server.runtime.errors import ConfigurationError
from policy_server.training.checkpoint import Checkpoint, save_checkpoint
from policy_server.training.configuration import (
    AugmentationConfig,
    ContextConfig,
    EncoderTraining,
    LoraSettings,
    MuonSettings,
    OptimizerConfig,
    TrainingConfig,
    ValidationConfig,
    ViewConfig,
)
from tests.small_policy import small_spec

BASE = TrainingConfig(
    "base",
    Path("data/base"),
    Path("runs/base"),
    features=True,
    steps=4000,
    seed=3,
    context=ContextConfig(40, 3),
    model=ModelConfig(backbone="transformer"),
    optimizer=OptimizerConfig("muon", 5e-3, warmup_steps=200, muon=MuonSettings(recipe="fixed_five")),
    validation=ValidationConfig(every=500),
)


def base_of(config: TrainingConfig = BASE) -> Checkpoint:
    return Checkpoint(4000, config, small_spec(), {}, {}, {}, 1, "", [])


def finetuning(**changes: object) -> FinetuneConfig:
    values: dict[str, object] = {"base": Path("runs/base"), "dataset": Path("data/moved"), "output": Path("runs/moved")}
    return FinetuneConfig(**(values | changes))  # type: ignore[arg-type]


def test_a_run_that_goes_on_starts_from_what_it_started_from(tmp_path: Path) -> None:
    old, new = torch.zeros(2), torch.ones(2)
    training = dataclasses.replace(training_of(finetuning(output=tmp_path), base_of()), start_checkpoint="best")
    base = dataclasses.replace(base_of(), average={"layer.weight": new})
    assert as_begun(training, base) == (training, base.average)
    was = dataclasses.replace(training, start_checkpoint="last")
    under = {"layer.base_layer.weight": old, "layer.lora_A.default.weight": new, "layer.lora_B.default.weight": new}
    begun = Checkpoint(3, was, small_spec(), under, {"layer.weight": new}, {}, 1, "", [], {"adapter": new})
    save_checkpoint(tmp_path, begun)
    resumed, started = as_begun(training, base)
    assert resumed == was and started.keys() == {"layer.weight"} and torch.equal(started["layer.weight"], old)
    other = dataclasses.replace(base, average={"layer.weight": torch.ones(3)})
    assert as_begun(training, other)[1] is other.average


def test_a_tuning_is_the_bases_training_but_for_what_it_changes() -> None:
    config = finetuning(training={"steps": 500, "optimizer": {"learning_rate": 1e-3}}, demonstrations=5, seed=7)
    training = training_of(config, base_of())
    expected = dataclasses.replace(
        BASE,
        name="moved",
        dataset=Path("data/moved"),
        output=Path("runs/moved"),
        episodes=5,
        seed=7,
        steps=500,
        start_from=Path("runs/base"),
        lora=LoraSettings(8),
        optimizer=dataclasses.replace(BASE.optimizer, learning_rate=1e-3),
        validation=ValidationConfig(),
    )
    assert training == expected


def test_methods_differ_in_where_they_start_and_what_they_train() -> None:
    by_method = {"full": {"steps": 300}, "scratch": {"optimizer": {"learning_rate": 2e-3}}}
    config = finetuning(by_method=by_method, training={"steps": 500})
    lora, full, scratch = (
        training_of(dataclasses.replace(config, method=method), base_of()) for method in ("lora", "full", "scratch")
    )
    assert (lora.lora.rank, full.lora.rank, scratch.lora.rank) == (8, 0, 0)
    assert (lora.start_from, full.start_from, scratch.start_from) == (Path("runs/base"), Path("runs/base"), None)
    assert (lora.steps, full.steps, scratch.steps) == (500, 300, 500)
    assert scratch.optimizer.learning_rate == 2e-3 and full.optimizer == BASE.optimizer
    assert scratch.model == BASE.model and scratch.context == BASE.context


def test_the_best_checkpoint_is_the_base_where_there_is_one(tmp_path: Path) -> None:
    config = finetuning(base=tmp_path)
    assert training_of(config, base_of()).start_checkpoint == "last"
    (tmp_path / "best.pt").touch()
    assert training_of(config, base_of()).start_checkpoint == "best"
    assert training_of(dataclasses.replace(config, method="scratch"), base_of()).start_checkpoint == "last"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"training": {"model": {"backbone": "unet_film"}}}, "training.model: the base has set it"),
        ({"by_method": {"lora": {"dataset": "d"}}}, "by_method.lora.dataset"),
        ({"training": {"step": 5}}, "unknown key 'training.step'; did you mean 'steps'"),
        ({"training": {"optimizer": {"learning_rat": 5}}}, "did you mean 'learning_rate'"),
        ({"training": {"steps": "many"}}, "'steps'"),
    ],
)
def test_what_tuning_may_not_change_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        training_of(finetuning(**changes), base_of())
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"demonstrations": -1}, "demonstrations=-1"),
        ({"lora": LoraSettings(0)}, "lora.rank=0"),
        ({"adapter": Path("a")}, "needs base_bundle"),
        ({}, "no checkpoint in 'runs/base'"),
    ],
)
def test_a_tuning_that_cannot_begin_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_base(finetuning(**changes))
    assert reason in str(refused.value)


def test_what_is_free_is_a_setting_of_training() -> None:
    assert set(FREE) < {field.name for field in dataclasses.fields(TrainingConfig)}


def test_a_dataset_that_shows_something_else_is_refused() -> None:
    spec = small_spec(features=True, cameras={})
    check_same_senses(spec, dataclasses.replace(spec, task="another", name="another"))
    with pytest.raises(ConfigurationError, match="dataset: its features are"):
        check_same_senses(spec, dataclasses.replace(spec, features=("lamp_red", "goal_y", "goal_x")))
    with pytest.raises(ConfigurationError, match="rate_hz"):
        check_same_senses(spec, dataclasses.replace(spec, rate_hz=20.0))


def test_embeddings_are_written_once_where_nothing_changes_them() -> None:
    seeing = dataclasses.replace(BASE, features=False, cameras={"front": ViewConfig()}, lora=LoraSettings(8))
    assert takes_cached_embeddings(seeing, adapts_encoder=False)
    assert not takes_cached_embeddings(seeing, adapts_encoder=True)
    for changes in (
        {"lora": LoraSettings()},
        {"augmentation": AugmentationConfig(2)},
        {"encoder": EncoderTraining("frozen")},
        {"cameras": {}, "features": True},
    ):
        assert not takes_cached_embeddings(dataclasses.replace(seeing, **changes), adapts_encoder=False)  # type: ignore[arg-type]


def test_overrides_reach_into_the_training() -> None:
    values = {"base": "b", "dataset": "d", "output": "o", "training": {"optimizer": {"kind": "adamw"}}}
    changed = configuration.apply_overrides(values, ["training.optimizer.learning_rate=1e-3", "lora.rank=4"])
    config = configuration.build(FinetuneConfig, changed, "test")
    assert config.training["optimizer"]["kind"] == "adamw"
    assert training_of(config, base_of()).optimizer.learning_rate == 1e-3
    assert config.lora.rank == 4
