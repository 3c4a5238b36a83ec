from dataclasses import replace
from pathlib import Path

import pytest

from policy_server.comparison.configuration import ComparisonConfig, ValidationLossConfig
from policy_server.comparison.runs import Runs, choose_rates
from policy_server.runtime.errors import ConfigurationError
from tests.policy_server.comparison.small_comparison import finish, small_comparison
from tests.small_policy import write_small_dataset


@pytest.fixture
def config(tmp_path: Path) -> ComparisonConfig:
    return small_comparison(tmp_path)


def test_only_contestants_with_several_rates_are_tuned(config: ComparisonConfig) -> None:
    tuning = Runs(config).tuning()
    assert [(run.contestant, run.learning_rate, run.seed) for run in tuning] == [("adamw", 1e-3, 7), ("adamw", 1e-2, 7)]
    assert {run.training.steps for run in tuning} == {10}


def test_the_rate_with_the_least_validation_loss_is_taken_once_all_are_tried(config: ComparisonConfig) -> None:
    tuning = Runs(config).tuning()
    known = {("unet", "torch_muon"): 5e-3, ("unet", "recipe"): 5e-3}
    assert choose_rates(config, tuning) == known
    finish(tuning[0], 0.5)
    assert choose_rates(config, tuning) == known
    finish(tuning[1], 0.4)
    assert choose_rates(config, tuning) == known | {("unet", "adamw"): 1e-2}


def test_every_contestant_runs_once_per_seed_and_differs_in_its_optimizer_alone(config: ComparisonConfig) -> None:
    rates = {("unet", name): 0.01 for name in config.contestants}
    runs = Runs(config).compared(rates)
    assert [(run.seed, run.contestant) for run in runs] == [
        (seed, name) for seed in (0, 1) for name in ("adamw", "torch_muon", "recipe")
    ]
    first = runs[0].training
    for run in runs[1:3]:
        same = replace(run.training, name=first.name, output=first.output, optimizer=first.optimizer)
        assert same == first and run.training.optimizer != first.optimizer
    assert all(run.training.optimizer.learning_rate == 0.01 for run in runs)


def test_another_way_of_measuring_asks_for_the_measurement_again(config: ComparisonConfig) -> None:
    finish(Runs(config).tuning()[0], 0.5)
    assert Runs(config).tuning()[0].job.is_done
    other = replace(config, validation=ValidationLossConfig(1, 5, 2, 4))
    assert not Runs(other).tuning()[0].job.is_done


def test_a_run_is_done_until_what_it_learns_from_changes(config: ComparisonConfig, tmp_path: Path) -> None:
    finish(Runs(config).tuning()[0], 0.5)
    assert Runs(replace(config, base=config.base | {"threads": 2})).tuning()[0].job.is_done
    elsewhere = {"dataset": write_small_dataset(tmp_path / "other", (9, 8, 7))}
    for other in (elsewhere, {"accumulate": 2}, {"damaged_episodes": "skip"}):
        assert not Runs(replace(config, base=config.base | other)).tuning()[0].job.is_done


@pytest.mark.parametrize(("episodes", "validated"), [(0, 1), (3, 0), (2, 2)])
def test_a_dataset_without_episodes_to_validate_on_is_refused(
    config: ComparisonConfig, episodes: int, validated: int
) -> None:
    base = config.base | {"episodes": episodes}
    with pytest.raises(ConfigurationError, match="has 3"):
        Runs(replace(config, base=base, validation=replace(config.validation, episodes=validated)))
