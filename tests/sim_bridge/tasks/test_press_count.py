"""Counting flashes and presses."""

import itertools

import numpy as np
import pytest

from sim_bridge.set_points import ramp
from sim_bridge.tasks import lamp
from sim_bridge.tasks.press_count import COLOURS, PressCount, PressCountExpert, draw_episode
from sim_bridge.world import World


@pytest.fixture(scope="module")
def world():
    return World(PressCount(), [])


def play(world, seed, presses):
    world.reset(seed)
    expert = PressCountExpert(world.task, world.task._goals, presses)
    while not world.outcome().done:
        world.advance(ramp(world.set_point, expert.action(world, world.set_point)))
    return world.outcome()


@pytest.fixture(scope="module")
def seed_with_two(world):
    for seed in range(100):
        world.reset(seed)
        if world.task.episode.flashes == 2:
            return seed
    raise AssertionError("no seed below 100 flashes twice")


def test_the_lamp_flashes_as_often_as_drawn_and_then_says_go(world):
    for seed in range(8):
        world.reset(seed)
        shown = []
        for _ in range(world.task.episode.go_tick + 2):
            shown.append(world.task.lamp_colour())
            world.advance(np.repeat(world.set_point[None], 50, axis=0))
        changes = [colour for colour, _ in itertools.groupby(shown)]
        assert changes == [lamp.DARK, *[COLOURS["flash"], lamp.DARK] * world.task.episode.flashes, COLOURS["go"]]


@pytest.mark.parametrize(("presses", "succeeds"), [(1, False), (2, True), (3, False)])
def test_only_the_right_number_of_presses_succeeds(world, seed_with_two, presses, succeeds):
    outcome = play(world, seed_with_two, presses)
    assert outcome.done and outcome.success == succeeds
    assert outcome.reason.startswith(f"pressed {presses} times")


def test_a_long_press_counts_once(world, seed_with_two):
    world.reset(seed_with_two)
    expert = PressCountExpert(world.task, world.task._goals, 1)
    while not world.task.progress.is_down:
        world.advance(ramp(world.set_point, expert.action(world, world.set_point)))
    world.advance(np.repeat(world.set_point[None], 500, axis=0))
    assert world.task.progress.presses == 1 and not world.outcome().done


def test_the_button_comes_up_again_by_itself(world):
    world.reset(0)
    cap = world.simulation.data.joint("button_cap")
    cap.qpos = -0.014
    world.advance(np.repeat(world.set_point[None], 100, axis=0))
    assert -0.001 < float(cap.qpos[0]) < 0.001


def test_counts_are_equally_likely():
    rng = np.random.default_rng(0)
    episodes = [draw_episode(rng) for _ in range(2000)]
    np.testing.assert_allclose(np.bincount([e.flashes for e in episodes])[1:] / 2000, 0.25, atol=0.05)
