from dataclasses import replace
from pathlib import Path

import pytest

from policy_server.ladder.configuration import FamilyConfig, LadderConfig
from policy_server.ladder.plateau import PlateauValue, plateau_values, read_curves
from policy_server.ladder.recipes import check_predicted_recipe, family_of, recipe_for
from policy_server.ladder.rungs import Rung
from policy_server.muon.errors import SpectrumError
from policy_server.muon.layers import assign_layers
from policy_server.muon.spectrum import QUANTILES
from policy_server.sweep.trainings import make_policy, make_training
from policy_server.training.configuration import TrainingConfig
from tests.policy_server.ladder.planted import config, law_values, planted_rungs
from tests.small_policy import write_small_dataset


def values_of(rungs: list[Rung], planted: LadderConfig) -> list[PlateauValue]:
    return [value for rung in rungs for value in plateau_values(read_curves(rung), planted.plateau)]


def test_a_law_that_holds_predicts_a_recipe_that_serves(tmp_path: Path) -> None:
    rungs = planted_rungs(tmp_path)
    check = check_predicted_recipe(rungs, values_of(rungs, config(tmp_path)), 0.95)
    assert (check.rung, check.layers) == ("w100000", 2)
    assert check.error_predicted < check.error_of_fixed_five
    assert check.flops_predicted < 0.8


def test_too_few_sizes_or_a_layer_without_a_law_are_named(tmp_path: Path) -> None:
    rungs = planted_rungs(tmp_path)
    values = values_of(rungs, config(tmp_path))
    two = [rung for rung in rungs if rung.parameters <= 3_000]
    with pytest.raises(SpectrumError, match="needs three sizes"):
        check_predicted_recipe(two, [value for value in values if value.parameters <= 3_000], 0.95)
    with pytest.raises(SpectrumError, match="no quantiles for type 'O'"):
        check_predicted_recipe(rungs, [value for value in values if value.type == "Q"], 0.95)


@pytest.fixture
def training(tmp_path: Path) -> TrainingConfig:
    dataset = write_small_dataset(tmp_path / "data", (8,))
    chunk = {"past_steps": 2, "future_steps": 6, "replan_every_ticks": 1}
    model = {"unet": {"widths": [16], "heads": 2}}
    return make_training("new", tmp_path, 0, {"dataset": dataset, "features": True, "chunk": chunk, "model": model})


def test_a_recipe_for_networks_that_were_not_trained(tmp_path: Path, training: TrainingConfig) -> None:
    layers = [layer for layer in assign_layers(make_policy(training)) if layer.kind == "muon"]
    groups = {(kind, layer.quarter) for layer in layers for kind in layer.types}
    values = [
        value
        for kind, quarter in groups
        for q in QUANTILES
        for value in law_values(0.3 + q, type=kind, quarter=quarter, quantile=q)
    ]
    recipe = recipe_for(config(tmp_path), values, training)
    assert set(recipe.layers) == {layer.name for layer in layers}
    assert recipe.prediction["flops_over_fixed_five"] < 1
    with pytest.raises(SpectrumError, match="no quantiles for type"):
        recipe_for(config(tmp_path), [value for value in values if value.type != "conv"], training)


def test_the_family_is_found_by_its_backbone(tmp_path: Path) -> None:
    rungs = {"a": {}, "b": {}}
    both = {"x": FamilyConfig(rungs, {"model": {"backbone": "transformer"}}), "y": FamilyConfig(rungs)}
    planted = replace(config(tmp_path), families=both)
    assert family_of(planted, "transformer") == "x" and family_of(planted, "unet_attention") == "y"
    with pytest.raises(SpectrumError, match="'unet_film' has no law: the ladder has transformer, unet_attention"):
        family_of(planted, "unet_film")
