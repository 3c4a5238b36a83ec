"""The world: same seed, same bits; refusals; pictures."""

import gc

import numpy as np
import pytest

from policy_server.runtime.errors import ConfigurationError, PolicyError
from sim_bridge.renderer import RenderError
from sim_bridge.set_points import ramp
from sim_bridge.tasks.registry import TASKS, task_by_name
from sim_bridge.world import CameraView, SetPointError, World

VIEWS = (CameraView("front", 96, 96), CameraView("wrist", 64, 48))


@pytest.fixture(scope="module")
def world():
    world = World(task_by_name("pick_and_place"), VIEWS)
    yield world
    world.close()


def play(world, seed, ticks, rows=50):
    """Everything that can be seen of an episode: bytes of joints, pictures and the outcome, tick by tick."""
    world.reset(seed)
    expert = world.task.expert(True, np.random.default_rng(1))
    seen = []
    for _ in range(ticks):
        pictures = b"".join(world.render(view.name).tobytes() for view in VIEWS)
        seen.append((world.joint_positions().tobytes(), pictures, world.outcome()))
        set_points = ramp(world.set_point, expert.action(world, world.set_point))
        for start in range(0, len(set_points), rows):
            world.advance(set_points[start : start + rows])
    return seen


@pytest.mark.parametrize("name", TASKS)
def test_the_same_seed_gives_the_same_bits_whatever_came_before(name):
    used = World(task_by_name(name), VIEWS)
    play(used, 3, 12)
    fresh = World(task_by_name(name), VIEWS)
    assert play(used, 7, 25) == play(fresh, 7, 25)


def test_seeds_differ(world):
    assert play(world, 1, 1) != play(world, 2, 1)


def test_drawing_and_the_size_of_steps_do_not_change_the_physics(world):
    assert play(world, 5, 20, rows=50) == play(world, 5, 20, rows=10)
    drawn = world.joint_positions()
    world.reset(5)
    expert = world.task.expert(True, np.random.default_rng(1))
    for _ in range(20):
        world.advance(ramp(world.set_point, expert.action(world, world.set_point)))
    np.testing.assert_array_equal(world.joint_positions(), drawn)


def test_time_counts_on_through_resets(world):
    start_ns = world.time_ns
    world.reset(1)
    assert world.time_ns == start_ns and isinstance(start_ns, int)
    world.advance(np.repeat(world.set_point[None], 75, axis=0))
    world.reset(2)
    assert world.time_ns == start_ns + 150_000_000
    assert world.tick_count == 0


def test_set_points_start_at_the_measured_pose(world):
    world.reset(4)
    np.testing.assert_array_equal(world.set_point, world.joint_positions()[:8])


@pytest.mark.parametrize("shape", [(8,), (3, 7), (3, 9)])
def test_set_points_of_another_shape_are_refused(world, shape):
    with pytest.raises(SetPointError, match="shape"):
        world.advance(np.zeros(shape))


def test_a_set_point_that_is_not_finite_is_refused_before_anything_moves(world):
    world.reset(0)
    before, start_ns = world.joint_positions(), world.time_ns
    set_points = np.repeat(world.set_point[None], 5, axis=0)
    set_points[3, 2] = np.nan
    with pytest.raises(SetPointError, match="fr3_joint3 in row 3"):
        world.advance(set_points)
    np.testing.assert_array_equal(world.joint_positions(), before)
    assert world.time_ns == start_ns


def test_pictures_have_the_size_that_was_asked_and_are_the_callers_own(world):
    world.reset(0)
    for view in VIEWS:
        first = world.render(view.name)
        assert first.shape == (view.height, view.width, 3) and first.dtype == np.uint8
        assert first.flags.c_contiguous and first.flags.owndata
        kept = first.copy()
        first[:] = 0
        np.testing.assert_array_equal(world.render(view.name), kept)


def test_the_picture_shows_the_present_moment(world):
    world.reset(0)
    before = world.render("front")
    goal = world.set_point
    goal[0] += 0.2
    world.advance(ramp(world.set_point, goal))
    assert (world.render("front") != before).any()


def test_a_forgotten_world_does_not_spoil_anothers_pictures(world):
    world.reset(0)
    forgotten = World(task_by_name("reach_cued"), VIEWS)
    forgotten.render("front")
    expected = world.render("front")  # its context is now the current one, in which a careless clean-up would strike
    del forgotten
    gc.collect()
    np.testing.assert_array_equal(world.render("front"), expected)


def test_an_unknown_camera_is_refused_with_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"'side'.*front.*wrist.*video|'side'.*front, video, wrist"):
        World(task_by_name("reach_cued"), [CameraView("side", 96, 96)])


def test_a_view_that_was_not_opened_is_refused(world):
    with pytest.raises(RenderError, match="'video'"):
        world.render("video")


def test_a_world_without_cameras_says_so():
    with pytest.raises(PolicyError, match="without cameras"):
        World(task_by_name("reach_cued"), []).render("front")


def test_a_closed_world_draws_no_more():
    world = World(task_by_name("reach_cued"), VIEWS)
    world.close()
    world.close()
    with pytest.raises(PolicyError):
        world.render("front")


def test_the_outcome_stays_once_the_episode_has_ended():
    world = World(task_by_name("reach_cued"), [])
    world.reset(0)
    goal = world.set_point
    goal[0] += 1.0
    world.advance(ramp(world.set_point, goal, 100))
    outcome = world.outcome()
    assert outcome.done and not outcome.success and "before the lamp" in outcome.reason
    world.advance(np.repeat(goal[None], 6000, axis=0))
    assert world.outcome() is outcome
    world.reset(0)
    assert not world.outcome().done


@pytest.mark.parametrize("name", TASKS)
def test_an_arm_that_does_nothing_fails_when_time_is_up(name):
    world = World(task_by_name(name), [])
    world.reset(2)
    world.advance(np.repeat(world.set_point[None], 50 * world.task.horizon_ticks, axis=0))
    outcome = world.outcome()
    assert (outcome.done, outcome.success, outcome.reason) == (True, False, "time is up")
