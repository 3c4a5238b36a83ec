"""Cups that swap: where they go, and that the ball stays hidden."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_bridge.tasks.shell_game import (
    CUP_RADIUS_M,
    SWAP_TICKS,
    Episode,
    ShellGame,
    cup_places,
    draw_episode,
)
from sim_bridge.world import CameraView, World


@given(st.integers(0, 10_000))
def test_cups_never_run_through_each_other(seed):
    episode = draw_episode(np.random.default_rng(seed))
    for tick in range(episode.go_tick + 1):
        places_m = cup_places(episode, tick)[:, :2]
        gaps_m = [np.linalg.norm(places_m[a] - places_m[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
        assert min(gaps_m) > 2 * CUP_RADIUS_M


@given(st.integers(0, 10_000))
def test_between_two_ticks_no_cup_jumps_to_where_another_was(seed):
    episode = draw_episode(np.random.default_rng(seed))
    for tick in range(episode.go_tick):
        before_m, after_m = cup_places(episode, tick)[:, :2], cup_places(episode, tick + 1)[:, :2]
        nearest = [int(np.argmin(np.linalg.norm(before_m - place_m, axis=1))) for place_m in after_m]
        assert nearest == [0, 1, 2]


@given(st.integers(0, 10_000))
def test_after_the_swaps_the_cups_stand_in_the_slots_again(seed):
    episode = draw_episode(np.random.default_rng(seed))
    slots = [0, 1, 2]
    for first, second in episode.swaps:
        slots = [{first: second, second: first}.get(slot, slot) for slot in slots]
    np.testing.assert_allclose(cup_places(episode, episode.go_tick)[:, :2], episode.slots_m[slots], atol=1e-12)


def test_a_swap_takes_its_time_and_exchanges_two_cups():
    slots_m = np.array([(0.5, -0.2), (0.5, 0.0), (0.5, 0.2)])
    episode = Episode(slots_m, ball_cup=1, cover_tick=5, swaps=((0, 2),))
    start = episode.first_swap_tick
    np.testing.assert_allclose(cup_places(episode, start)[:, :2], slots_m)
    half = cup_places(episode, start + SWAP_TICKS // 2)[:, :2]
    np.testing.assert_allclose(half[[0, 2], 1], 0.0, atol=1e-12)
    assert half[0, 0] < half[1, 0] < half[2, 0]
    np.testing.assert_allclose(cup_places(episode, start + SWAP_TICKS)[:, :2], slots_m[[2, 1, 0]])


def test_the_cup_with_the_ball_is_equally_often_each_and_ends_anywhere():
    rng = np.random.default_rng(0)
    episodes = [draw_episode(rng) for _ in range(1500)]
    ends = [int(np.argmin(np.abs(e.slots_m[:, 1] - cup_places(e, e.go_tick)[e.ball_cup, 1]))) for e in episodes]
    np.testing.assert_allclose(np.bincount([e.ball_cup for e in episodes]) / 1500, 1 / 3, atol=0.05)
    np.testing.assert_allclose(np.bincount(ends) / 1500, 1 / 3, atol=0.05)


VIEWS = [CameraView("front", 192, 192), CameraView("wrist", 96, 96), CameraView("video", 120, 160)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_once_covered_no_pixel_tells_where_the_ball_is(seed):
    """Episodes that differ only in the cup with the ball look alike after it is covered, and not before."""
    world = World(ShellGame(), VIEWS)
    seen = []
    for cup in range(3):
        world.reset(seed)
        world.task.episode = dataclasses.replace(world.task.episode, ball_cup=cup)
        episode = world.task.episode
        world.advance(np.repeat(world.set_point[None], 50, axis=0))
        before = world.render("front")
        world.advance(np.repeat(world.set_point[None], 50 * (episode.first_swap_tick - 2), axis=0))
        after = []
        for _ in range(episode.first_swap_tick, episode.go_tick + 2):
            after += [world.render(view.name) for view in VIEWS]
            world.advance(np.repeat(world.set_point[None], 50, axis=0))
        seen.append((before, after))
    world.close()
    assert (seen[0][0] != seen[1][0]).any()
    for first, second, third in zip(*(after for _, after in seen), strict=True):
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, third)
