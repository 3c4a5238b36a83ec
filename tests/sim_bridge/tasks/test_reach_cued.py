"""The cued reach: what is shown, when, and what counts."""

import dataclasses
import itertools

import numpy as np
import pytest

from sim_bridge.set_points import ramp
from sim_bridge.tasks import lamp
from sim_bridge.tasks.reach_cued import COLOURS, NAMES, ReachCued, draw_episode
from sim_bridge.world import CameraView, World

VIEWS = [CameraView("front", 96, 96), CameraView("wrist", 96, 96), CameraView("video", 90, 120)]


@pytest.fixture(scope="module")
def world():
    world = World(ReachCued(), VIEWS)
    yield world
    world.close()


def hold(world, ticks):
    world.advance(np.repeat(world.set_point[None], 50 * ticks, axis=0))


def start_with_cue(world, seed, cue):
    world.reset(seed)
    world.task.episode = dataclasses.replace(world.task.episode, cue=cue)


def test_episodes_are_unambiguous_and_well_timed():
    rng = np.random.default_rng(0)
    episodes = [draw_episode(rng) for _ in range(300)]
    for episode in episodes:
        for one, other in itertools.combinations(episode.cubes_m, 2):
            assert np.linalg.norm(one - other) >= 0.14
        assert 3 <= episode.cue_tick <= 8
        assert episode.dark_tick - episode.cue_tick == 10
        assert 10 <= episode.go_tick - episode.dark_tick <= 30
    np.testing.assert_allclose(np.bincount([e.cue for e in episodes]) / 300, 1 / 3, atol=0.08)


def test_the_cue_says_nothing_about_the_place_nor_the_time():
    rng = np.random.default_rng(1)
    episodes = [draw_episode(rng) for _ in range(3000)]
    cues = np.array([e.cue for e in episodes])
    leaks = {
        "side": [e.cubes_m[e.cue, 1] for e in episodes],
        "go": [e.go_tick for e in episodes],
        "cue tick": [e.cue_tick for e in episodes],
    }
    for name, values in leaks.items():
        means = [np.mean(np.array(values)[cues == cue]) for cue in range(3)]
        assert np.ptp(means) < 5 * np.std(values) / np.sqrt(1000), name


def test_the_lamp_shows_the_cue_then_nothing_then_white(world):
    world.reset(3)
    episode = world.task.episode
    shown = []
    for _ in range(episode.go_tick + 3):
        shown.append(world.task.lamp_colour())
        hold(world, 1)
    cue_colour = COLOURS[NAMES[episode.cue]]
    changes = [colour for colour, _ in itertools.groupby(shown)]
    assert changes == [lamp.DARK, cue_colour, lamp.DARK, lamp.WHITE]
    assert shown.index(cue_colour) == episode.cue_tick
    assert shown.index(lamp.WHITE) == episode.go_tick


def test_once_dark_no_pixel_and_no_joint_tells_the_cue(world):
    seen = []
    for cue in range(len(NAMES)):
        start_with_cue(world, 11, cue)
        episode = world.task.episode
        hold(world, episode.cue_tick)
        during = world.render("front")
        hold(world, episode.dark_tick - episode.cue_tick)
        after = [world.joint_positions()]
        for _ in range(episode.dark_tick, episode.go_tick + 2):
            after += [world.render(view.name) for view in VIEWS]
            hold(world, 1)
        seen.append((during, after))
    (red, red_after), (green, green_after), (blue, blue_after) = seen
    assert (red != green).any() and (green != blue).any()
    for one, other, another in zip(red_after, green_after, blue_after, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, another)


def test_the_lamp_and_each_cube_are_large_in_the_front_picture(world):
    for seed in range(20):
        start_with_cue(world, seed, seed % 3)
        hold(world, world.task.episode.cue_tick)
        picture = world.render("front").astype(int)
        channel = np.argmax([np.array(colour) for colour in COLOURS.values()], axis=1)
        for colour, index in enumerate(channel):
            others = np.delete(picture, index, axis=2).max(axis=2)
            pixels = int((picture[..., index] - others > 60).sum())
            assert pixels > (250 if colour == world.task.episode.cue else 40), (seed, NAMES[colour], pixels)


def send_expert_to(world, seed, cube):
    """Plays the episode with an expert that believes ``cube`` was shown."""
    world.reset(seed)
    asked = world.task.episode.cue
    world.task.episode = dataclasses.replace(world.task.episode, cue=cube)
    expert = world.task.expert(True, np.random.default_rng(1))
    world.task.episode = dataclasses.replace(world.task.episode, cue=asked)
    while not world.outcome().done:
        world.advance(ramp(world.set_point, expert.action(world, world.set_point)))
    return asked, world.outcome()


@pytest.mark.parametrize("cube", range(3))
def test_the_first_cube_reached_decides(cube):
    world = World(ReachCued(), [])
    for seed in range(4):
        asked, outcome = send_expert_to(world, seed, cube)
        assert outcome.success == (cube == asked)
        assert f"reached the {NAMES[cube]} cube" in outcome.reason


def test_going_before_the_lamp_is_white_fails(world):
    world.reset(4)
    goal = world.task.expert(True, np.random.default_rng(1))._goal
    for _ in range(10):
        world.advance(ramp(world.set_point, world.set_point + 0.2 * (goal - world.set_point)))
    outcome = world.outcome()
    assert outcome.done and not outcome.success and "before the lamp" in outcome.reason
