"""Experts succeed; experts that guess what must be remembered score near chance, so success is not vacuous."""

import functools

import numpy as np
import pytest

from sim_bridge.check_experts import ExpertEpisode, run_expert, run_experts
from sim_bridge.fr3 import COMMAND_JOINTS
from sim_bridge.set_points import ramp
from sim_bridge.tasks import grasp_and_return
from sim_bridge.tasks.registry import TASKS, task_by_name
from sim_bridge.tasks.task import STEPS_PER_TICK
from sim_bridge.world import World
from tests.sim_bridge.test_fr3 import LOWER_RAD, UPPER_RAD

FIRST_SEED = 500
EPISODES = {"reach_cued": 20, "shell_game": 15, "grasp_and_return": 8}
GUESSES = {"reach_cued": 45, "press_count": 30, "shell_game": 30, "grasp_and_return": 12}
FASTEST_RAD_PER_S = 1.0


@functools.cache
def world_of(name):
    return World(task_by_name(name), [])


def successes(name, episodes, **kind):
    world = world_of(name)
    seeds = range(FIRST_SEED, FIRST_SEED + episodes)
    return sum(run_expert(ExpertEpisode(name, seed, **kind), world).success for seed in seeds)


@pytest.mark.parametrize("name", TASKS)
def test_an_expert_that_knows_succeeds(name):
    episodes = EPISODES.get(name, 10)
    assert successes(name, episodes, knows=True) == episodes


@pytest.mark.parametrize("name", GUESSES)
@pytest.mark.slow
def test_an_expert_that_guesses_scores_near_chance(name):
    chance, episodes = world_of(name).task.chance, GUESSES[name]
    three_sigma = 3 * np.sqrt(chance * (1 - chance) / episodes)
    assert successes(name, episodes, knows=False) / episodes == pytest.approx(chance, abs=three_sigma)


@pytest.mark.parametrize("name", TASKS)
def test_an_expert_recovers_from_noise_on_its_actions(name):
    assert successes(name, 4, knows=True, noise_rad=0.005) == 4


@pytest.mark.parametrize("name", TASKS)
def test_an_expert_keeps_to_the_joint_limits_and_moves_calmly(name):
    world = world_of(name)
    world.reset(FIRST_SEED)
    expert = world.task.expert(True, np.random.default_rng(1))
    while not world.outcome().done:
        set_point = world.set_point
        target = expert.action(world, set_point)
        assert target.shape == (len(COMMAND_JOINTS),) and target.dtype == np.float64
        assert (target[:7] > LOWER_RAD).all() and (target[:7] < UPPER_RAD).all() and 0 <= target[7] <= 0.04
        assert np.abs(target[:7] - set_point[:7]).max() <= FASTEST_RAD_PER_S / 10
        world.advance(ramp(set_point, target, STEPS_PER_TICK))


def test_results_do_not_depend_on_the_number_of_workers():
    episodes = [ExpertEpisode("reach_cued", seed, knows=False) for seed in range(4)]
    assert list(run_experts(episodes, workers=2)) == list(run_experts(episodes, workers=1))


def test_the_stated_chance_of_returning_by_guess_is_the_measured_one():
    rng = np.random.default_rng(0)
    places_m = np.array([grasp_and_return.draw_episode(rng).origin_m for _ in range(4000)])
    distances_m = np.hypot(*(places_m[::2] - places_m[1::2]).T)
    assert np.mean(distances_m < grasp_and_return.RETURNED_WITHIN_M) == pytest.approx(
        grasp_and_return.GraspAndReturn.chance, abs=0.015
    )
