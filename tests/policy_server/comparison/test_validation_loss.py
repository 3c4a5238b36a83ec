from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policy_server.comparison.configuration import ValidationLossConfig
from policy_server.comparison.validation_loss import validation_loss
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.manifest import PolicySpec
from policy_server.training.episodes import Episodes, load_episodes
from policy_server.training.windows import chunk_extremes
from tests.small_policy import small_config, small_spec, write_small_dataset

SETTINGS = ValidationLossConfig(windows=10, draws=3, batch=4)


@pytest.fixture
def spec() -> PolicySpec:
    return small_spec(features=True, cameras={})


@pytest.fixture
def episodes(tmp_path: Path, spec: PolicySpec) -> Episodes:
    return load_episodes(write_small_dataset(tmp_path / "data"), spec)


def policy(spec: PolicySpec, episodes: Episodes, seed: int = 0) -> DiffusionPolicy:
    torch.manual_seed(seed)
    made = DiffusionPolicy(spec, small_config(Path("."), Path(".")).model)
    made.scaling.fit(torch.from_numpy(episodes.states), torch.from_numpy(chunk_extremes(episodes, spec, True)))
    return made


def test_the_draws_depend_on_nothing_but_the_settings(spec: PolicySpec, episodes: Episodes) -> None:
    own = policy(spec, episodes)
    first = validation_loss(own, spec, episodes, 1, SETTINGS)
    torch.manual_seed(99)
    np.random.default_rng(1)
    assert validation_loss(own, spec, episodes, 1, SETTINGS) == first
    assert validation_loss(own, spec, episodes, 1, replace(SETTINGS, seed=1)) != first
    assert validation_loss(policy(spec, episodes, 1), spec, episodes, 1, SETTINGS) != first


def test_only_the_episodes_that_were_held_out_count(spec: PolicySpec, episodes: Episodes) -> None:
    own = policy(spec, episodes)
    first = validation_loss(own, spec, episodes, 2, SETTINGS)
    begin = int(episodes.starts[2])
    for ticks, changes in ((slice(None, begin), False), (slice(begin, None), True)):
        actions = episodes.actions.copy()
        actions[ticks] += 1.0
        other = validation_loss(own, spec, replace(episodes, actions=actions), 2, SETTINGS)
        assert (other != first) == changes


def test_more_draws_are_a_mean_and_not_a_sum(spec: PolicySpec, episodes: Episodes) -> None:
    own = policy(spec, episodes)
    few, many = (validation_loss(own, spec, episodes, 1, replace(SETTINGS, draws=draws)) for draws in (4, 16))
    assert many == pytest.approx(few, rel=0.3)
