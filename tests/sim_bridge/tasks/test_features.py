"""Features: all that can be seen at a moment, and nothing else."""

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_bridge.set_points import ramp
from sim_bridge.tasks.carrying import CUBE_HALF_M
from sim_bridge.tasks.grasp_and_return import DISPLAY_M, GraspAndReturn
from sim_bridge.tasks.grasp_and_return import Progress as ReturnProgress
from sim_bridge.tasks.pick_and_place import PickAndPlace
from sim_bridge.tasks.press_count import MOST_FLASHES, PressCount
from sim_bridge.tasks.push_to_goal import PushToGoal
from sim_bridge.tasks.reach_cued import NAMES, ReachCued
from sim_bridge.tasks.registry import TASKS, task_by_name
from sim_bridge.tasks.shell_game import (
    BALL_RADIUS_M,
    CUP_HALF_HEIGHT_M,
    CUPS,
    SLOTS_M,
    UNSEEN_BALL_M,
    ShellGame,
)
from sim_bridge.tasks.task import Task
from sim_bridge.world import World

SEED = 3


@functools.cache
def world_of(name: str) -> World:
    return World(task_by_name(name), [])


def hold(world: World, ticks: int) -> None:
    world.advance(np.repeat(world.set_point[None], 50 * ticks, axis=0))


def named(world: World) -> dict[str, float]:
    return dict(zip(world.task.feature_names, world.features().tolist(), strict=True))


def watch(world: World, ticks: int, **hidden: object) -> np.ndarray:
    """Features of each tick, (ticks, F), while the arm waits; ``hidden`` replaces facts of the drawn episode."""
    world.reset(SEED)
    world.task.episode = dataclasses.replace(world.task.episode, **hidden)
    world.task.tick(world.simulation, 0)
    seen = []
    for _ in range(ticks):
        seen.append(world.features())
        hold(world, 1)
    return np.stack(seen)


@pytest.mark.parametrize("name", TASKS)
def test_every_feature_has_a_name_and_is_a_finite_number(name: str) -> None:
    task = task_by_name(name)
    world = World(task, [])
    assert len(set(task.feature_names)) == len(task.feature_names)
    world.reset(SEED)
    expert = task.expert(True, np.random.default_rng(1))
    while not world.outcome().done:
        features = world.features()
        assert features.shape == (len(task.feature_names),) and features.dtype == np.float32
        assert np.isfinite(features).all()
        world.advance(ramp(world.set_point, expert.action(world, world.set_point)))


@pytest.mark.parametrize("name", TASKS)
def test_stating_features_changes_nothing(name: str) -> None:
    ends = []
    for is_read in (False, True):
        world = World(task_by_name(name), [])
        world.reset(SEED)
        expert = world.task.expert(True, np.random.default_rng(1))
        for _ in range(30):
            if is_read:
                world.features()
            world.advance(ramp(world.set_point, expert.action(world, world.set_point)))
        ends.append(world.simulation.data.qpos.tobytes())
    assert ends[0] == ends[1]


@pytest.mark.parametrize("name", TASKS)
def test_the_hand_is_stated_where_it_is(name: str) -> None:
    world = World(task_by_name(name), [])
    np.testing.assert_allclose(world.features()[:3], world.hand_position(), rtol=1e-6)
    assert world.task.feature_names[:3] == ("hand_x_m", "hand_y_m", "hand_z_m")


def test_the_cue_is_stated_while_the_lamp_shows_it_and_at_no_other_time() -> None:
    world = World(ReachCued(), [])
    world.reset(SEED)
    episode = world.task.episode
    seen = [watch(world, episode.go_tick + 3, cue=cue) for cue in range(len(NAMES))]
    for other in seen[1:]:
        differs = (seen[0] != other).any(axis=1)
        shown = np.zeros(len(differs), bool)
        shown[episode.cue_tick : episode.dark_tick] = True
        np.testing.assert_array_equal(differs, shown)


def test_when_the_lamp_will_turn_white_is_not_stated() -> None:
    world = World(ReachCued(), [])
    world.reset(SEED)
    go_tick = world.task.episode.go_tick
    sooner, later = (watch(world, go_tick, go_tick=tick) for tick in (go_tick, go_tick + 9))
    np.testing.assert_array_equal(sooner, later)


def test_the_number_of_flashes_is_not_stated_once_they_are_over() -> None:
    world = World(PressCount(), [])
    world.reset(SEED)
    first, over = world.task.episode.first_flash_tick, world.task.episode.first_flash_tick + 7 * MOST_FLASHES
    ones, fours = (watch(world, over + 8, flashes=count, go_tick=over + 5) for count in (1, MOST_FLASHES))
    np.testing.assert_array_equal(ones[: first + 7], fours[: first + 7])
    assert (ones[first + 7 : over] != fours[first + 7 : over]).any()
    np.testing.assert_array_equal(ones[over:], fours[over:])


def test_the_number_of_presses_is_not_stated_but_how_far_the_button_is_down() -> None:
    world = World(PressCount(), [])
    world.reset(SEED)
    before = world.features()
    world.task.progress.presses = 2
    np.testing.assert_array_equal(world.features(), before)
    world.simulation.data.joint("button_cap").qpos[0] = -0.012
    assert named(world)["button_depth_m"] == pytest.approx(0.012)
    np.testing.assert_array_equal(world.features()[:-1], before[:-1])


def test_where_the_cube_came_from_is_not_stated_once_it_has_moved() -> None:
    seen = []
    for origin_m in ([0.42, 0.0], [0.55, 0.2]):
        world = World(GraspAndReturn(), [])
        world.reset(SEED)
        world.task.episode = dataclasses.replace(world.task.episode, origin_m=np.array(origin_m), show_ticks=len(seen))
        world.task.progress = ReturnProgress(shown_ticks=len(seen))
        world.simulation.place_free("cube", np.array([*DISPLAY_M, 0.14]))
        seen.append(world.features())
    np.testing.assert_array_equal(*seen)


def test_where_the_cube_lies_is_stated() -> None:
    world = World(GraspAndReturn(), [])
    world.reset(SEED)
    cube = named(world)
    expected = [*world.task.episode.origin_m, CUBE_HALF_M]
    assert [cube["cube_x_m"], cube["cube_y_m"], cube["cube_z_m"]] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["pick_and_place", "grasp_and_return"])
@given(yaw_rad=st.floats(-3.0, 3.0), quarter_turns=st.integers(1, 3))
def test_a_cube_turned_by_quarters_looks_the_same(name: str, yaw_rad: float, quarter_turns: int) -> None:
    world = world_of(name)
    place_m = np.array([0.5, 0.1, CUBE_HALF_M])
    world.simulation.place_free("cube", place_m, yaw_rad)
    before = world.features()
    world.simulation.place_free("cube", place_m, yaw_rad + quarter_turns * np.pi / 2)
    np.testing.assert_allclose(world.features(), before, atol=1e-6)


@pytest.mark.parametrize("task", [PickAndPlace(), PushToGoal()], ids=lambda task: task.name)
def test_how_long_the_object_has_rested_is_not_stated(task: Task) -> None:
    world = World(task, [])
    before = world.features()
    task._rest_ticks = 1  # type: ignore[attr-defined]
    np.testing.assert_array_equal(world.features(), before)


def test_disc_goal_cube_and_tray_are_stated_where_they_are() -> None:
    push, pick = World(PushToGoal(), []), World(PickAndPlace(), [])
    push.reset(SEED)
    pick.reset(SEED)
    disc, cube = push.task.episode, pick.task.episode
    np.testing.assert_allclose(push.features()[3:], [*disc.disc_m, *disc.goal_m], rtol=1e-6)
    np.testing.assert_allclose(pick.features()[3:5], cube.cube_m, rtol=1e-6)
    np.testing.assert_allclose(pick.features()[-2:], cube.tray_m, rtol=1e-6)


def test_the_ball_is_stated_until_a_cup_covers_it_and_never_again() -> None:
    world = World(ShellGame(), [])
    world.reset(SEED)
    episode = world.task.episode
    covered_tick = episode.first_swap_tick - 3
    seen = [watch(world, episode.go_tick + 3, ball_cup=cup) for cup in range(CUPS)]
    visible = world.task.feature_names.index("ball_visible")
    for features in seen:
        np.testing.assert_array_equal(features[:, visible], np.arange(len(features)) < covered_tick)
        np.testing.assert_allclose(
            features[covered_tick:, visible + 1 :], np.tile(UNSEEN_BALL_M, (len(features) - covered_tick, 1))
        )
    for other in seen[1:]:
        assert (seen[0][:covered_tick] != other[:covered_tick]).any(axis=1).all()
        np.testing.assert_array_equal(seen[0][covered_tick:], other[covered_tick:])


@given(order=st.permutations(range(CUPS)), ball=st.integers(0, CUPS - 1), x_m=st.floats(0.38, 0.60))
def test_which_of_the_cups_is_which_is_not_stated(order: list[int], ball: int, x_m: float) -> None:
    world = world_of("shell_game")
    places_m = np.column_stack([SLOTS_M, np.full(CUPS, CUP_HALF_HEIGHT_M)])
    places_m[1, 0] = x_m
    seen = []
    for cups in (range(CUPS), order):
        for cup, place_m in zip(cups, places_m, strict=True):
            world.simulation.place_mocap(f"cup_{cup}", place_m)
        world.simulation.place_mocap("ball", np.append(places_m[ball if not seen else 0, :2], BALL_RADIUS_M))
        seen.append(world.features())
    np.testing.assert_array_equal(*seen)
