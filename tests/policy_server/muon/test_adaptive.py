"""The optimizer that sets its own recipe."""

import pytest
import torch
from torch import nn

from policy_server.muon.adaptive import AdaptiveConfig
from policy_server.muon.configuration import PolarConfig
from policy_server.muon.optimizer import Muon
from policy_server.muon.recipe import RecipeConfig
from policy_server.muon.recipe_file import recipe_from_plain
from policy_server.runtime.errors import ConfigurationError
from tests.policy_server.muon.planted import planted


def test_it_measures_through_the_burn_in_and_then_when_told() -> None:
    config = AdaptiveConfig(burn_in=10, every=4, refresh_every=15)
    assert [step for step in range(1, 50) if config.is_due(step)] == [4, 8, 15, 30, 45]
    assert not any(AdaptiveConfig(burn_in=10, every=5).is_due(step) for step in range(11, 100))


def test_a_burn_in_without_a_measurement_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="burn_in 3, every 5"):
        AdaptiveConfig(burn_in=3, every=5)


def step_with(optimizer: Muon, parameter: nn.Parameter, sigma: torch.Tensor) -> None:
    parameter.grad = planted(*parameter.shape, sigma).float()
    optimizer.step()


@pytest.mark.slow
def test_the_newest_measurement_chooses_and_the_last_of_the_burn_in_stays() -> None:
    parameter = nn.Parameter(torch.zeros(32, 32))
    config = AdaptiveConfig(burn_in=4, every=2, recipe=RecipeConfig(quantile=1.0))
    optimizer = Muon([("w", parameter)], lr=0.0, momentum=0.0, adaptive=config)
    flat, steep = torch.ones(32).double(), torch.logspace(0, -3.3, 32, dtype=torch.float64)
    start = optimizer.configurations()["w"]
    step_with(optimizer, parameter, flat)
    assert optimizer.configurations()["w"] == start == PolarConfig(form="direct")
    step_with(optimizer, parameter, flat)
    for_flat = optimizer.configurations()["w"]
    step_with(optimizer, parameter, steep)
    assert optimizer.configurations()["w"] == for_flat
    step_with(optimizer, parameter, steep)
    for_steep = optimizer.configurations()["w"]
    assert len({start, for_flat, for_steep}) == 3
    for _ in range(4):
        step_with(optimizer, parameter, flat)
    assert optimizer.configurations()["w"] == for_steep


def test_the_recipe_and_its_prediction_are_in_the_checkpoint() -> None:
    parameter = nn.Parameter(torch.zeros(32, 32))
    optimizer = Muon([("w", parameter)], adaptive=AdaptiveConfig(burn_in=1, every=1))
    step_with(optimizer, parameter, torch.ones(32).double())
    recipe = recipe_from_plain(optimizer.state_dict()["param_groups"][0]["recipe"], "checkpoint")
    assert recipe.layers["w"] == optimizer.configurations()["w"]
    assert recipe.prediction["flops_over_fixed_five"] < 1
