from pathlib import Path

import pytest
import torch
from torch import nn

from policy_server.muon.configuration import PolarConfig
from policy_server.muon.cost import CostModel
from policy_server.muon.errors import MuonParameterError
from policy_server.muon.optimizer import Muon
from policy_server.muon.recipe import FIXED_FIVE
from policy_server.muon.recipe_file import Recipe, write_recipe
from policy_server.runtime.configuration import to_plain
from policy_server.runtime.errors import ConfigurationError
from policy_server.training.configuration import MuonSettings, OptimizerConfig
from policy_server.training.optimizers import make_optimizer, make_spectrum_log
from policy_server.training.torch_muon import TorchMuon


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 32), nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 4))


def muon(model: nn.Module, **settings: object) -> Muon:
    config = OptimizerConfig(kind="muon", muon=MuonSettings(**settings))  # type: ignore[arg-type]
    optimizer = make_optimizer(model, config, processes=1)
    assert isinstance(optimizer, Muon)
    return optimizer


def test_adamw_trains_everything_unless_told_otherwise(model: nn.Module) -> None:
    optimizer = make_optimizer(model, OptimizerConfig(learning_rate=0.01), processes=1)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert len(optimizer.param_groups[0]["params"]) == 8


def test_muon_trains_the_hidden_matrices_and_nothing_is_left_out(model: nn.Module) -> None:
    optimizer = muon(model)
    assert set(optimizer.configurations()) == {"1.weight", "2.weight"}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 8


def test_a_recipe_file_says_how_each_layer_is_orthonormalised(model: nn.Module, tmp_path: Path) -> None:
    write_recipe(Recipe(layers={"1.weight": PolarConfig("eigh", 1, "gram")}), tmp_path / "recipe.yaml")
    optimizer = muon(model, recipe=tmp_path / "recipe.yaml")
    assert optimizer.configurations()["1.weight"].method == "eigh"
    assert not any(group["adaptive"] for group in optimizer.param_groups)


def test_fixed_five_never_measures(model: nn.Module) -> None:
    optimizer = muon(model, recipe="fixed_five")
    assert set(optimizer.configurations().values()) == {FIXED_FIVE}
    assert not any(group["adaptive"] for group in optimizer.param_groups)


def test_a_recipe_may_follow_this_machines_costs(model: nn.Module) -> None:
    costs = [muon(model, costs=kind).param_groups[0]["cost_model"] for kind in ("declared", "measured")]
    assert costs[0] == to_plain(CostModel())
    assert costs[1] != costs[0]


def test_torchs_muon_can_be_compared_with(model: nn.Module) -> None:
    optimizer = make_optimizer(model, OptimizerConfig(kind="torch_muon"), processes=1)
    assert isinstance(optimizer, TorchMuon)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 8


def test_a_missing_recipe_is_named(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        muon(model, recipe=tmp_path / "nowhere.yaml")


def test_a_recipe_of_another_model_is_refused(model: nn.Module, tmp_path: Path) -> None:
    write_recipe(Recipe(layers={"attention.weight": FIXED_FIVE}), tmp_path / "recipe.yaml")
    with pytest.raises(MuonParameterError, match="no Muon layer"):
        muon(model, recipe=tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    ("kind", "every", "wanted"), [("muon", 5, True), ("muon", 0, False), ("adamw", 5, False), ("torch_muon", 5, False)]
)
def test_spectra_are_written_only_for_muon_and_when_asked(
    model: nn.Module, tmp_path: Path, kind: str, every: int, wanted: bool
) -> None:
    config = OptimizerConfig(kind=kind, muon=MuonSettings(spectrum_every=every))  # type: ignore[arg-type]
    assert (make_spectrum_log(model, config, tmp_path, 0) is not None) == wanted
    assert (tmp_path / "spectrum").exists() == wanted
