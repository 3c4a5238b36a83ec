"""Objects: on the table where cameras see them, and judged by where they end."""

import numpy as np
import pytest

from sim_bridge.scene import HIDDEN_GROUP, TABLE_CENTRE_M, TABLE_HALF_SIZE_M
from sim_bridge.set_points import ramp
from sim_bridge.tasks.carrying import CUBE_HALF_M
from sim_bridge.tasks.registry import TASKS, task_by_name
from sim_bridge.world import World


def task_bodies(model):
    """Bodies that a task has added: neither world nor arm."""
    return [i for i in range(1, model.nbody) if not model.body(i).name.startswith("fr3_")]


@pytest.mark.parametrize("name", TASKS)
def test_nothing_is_parked_out_of_sight(name):
    world = World(task_by_name(name), [])
    model, data = world.simulation.model, world.simulation.data
    geoms = [g for g in range(model.ngeom) if model.geom_bodyid[g] in task_bodies(model)]
    assert geoms and all(model.geom_group[g] != HIDDEN_GROUP and model.geom_rgba[g, 3] == 1 for g in geoms)
    for seed in range(10):
        world.reset(seed)
        expert = world.task.expert(True, np.random.default_rng(1))
        for _ in range(40):
            for geom in geoms:
                offset = np.abs(data.geom_xpos[geom][:2] - np.array(TABLE_CENTRE_M[:2]))
                assert (offset < TABLE_HALF_SIZE_M[:2]).all()
                assert 0.0 < data.geom_xpos[geom][2] < 0.35
            world.advance(ramp(world.set_point, expert.action(world, world.set_point)))


@pytest.mark.parametrize("name", TASKS)
def test_an_episode_starts_at_rest_without_touching_the_arm(name):
    world = World(task_by_name(name), [])
    model, data = world.simulation.model, world.simulation.data
    for seed in range(10):
        world.reset(seed)
        arm = {g for g in range(model.ngeom) if model.body(model.geom_bodyid[g]).name.startswith("fr3_")}
        for contact in data.contact[: data.ncon]:
            assert not {contact.geom1, contact.geom2} & arm
        world.advance(np.repeat(world.set_point[None], 25, axis=0))
        assert np.abs(data.qvel[9:]).max(initial=0.0) < 0.02


def test_the_cube_may_not_leave_the_reach_of_the_arm():
    world = World(task_by_name("pick_and_place"), [])
    world.reset(0)
    world.simulation.place_free("cube", np.array([0.9, 0.0, CUBE_HALF_M]))
    world.advance(np.repeat(world.set_point[None], 5, axis=0))
    assert world.outcome().done and world.outcome().reason == "the cube is out of reach"


def test_a_cube_in_the_tray_counts_only_when_the_hand_has_left_it():
    world = World(task_by_name("pick_and_place"), [])
    world.reset(0)
    expert = world.task.expert(True, np.random.default_rng(1))
    tray_m = world.task.episode.tray_m
    held_inside = False
    while not world.outcome().done:
        cube_m = world.simulation.data.joint("cube").qpos[:3].copy()
        is_inside = np.abs(cube_m[:2] - tray_m).max() < 0.05 and cube_m[2] < 0.04
        held_inside |= bool(is_inside and world.set_point[7] < 0.03)
        world.advance(ramp(world.set_point, expert.action(world, world.set_point)))
    assert held_inside and world.outcome().success


def test_a_disc_that_is_only_pushed_past_the_goal_does_not_count():
    world = World(task_by_name("push_to_goal"), [])
    world.reset(0)
    goal_m = world.task.episode.goal_m
    world.simulation.place_free("disc", np.array([*goal_m, 0.02]))
    world.simulation.data.joint("disc").qvel[0] = -0.5
    for _ in range(3):
        world.advance(np.repeat(world.set_point[None], 50, axis=0))
    assert np.hypot(*(world.task.disc_position(world.simulation) - goal_m)) > 0.03
    assert not world.outcome().done


def test_a_disc_that_lies_in_the_goal_counts():
    world = World(task_by_name("push_to_goal"), [])
    world.reset(0)
    world.simulation.place_free("disc", np.array([*world.task.episode.goal_m, 0.02]))
    world.advance(np.repeat(world.set_point[None], 50 * 6, axis=0))
    assert world.outcome().success


def test_the_cube_is_returned_where_it_was_and_after_being_shown():
    world = World(task_by_name("grasp_and_return"), [])
    world.reset(0)
    expert = world.task.expert(True, np.random.default_rng(1))
    origin_m = world.simulation.data.joint("cube").qpos[:2].copy()
    away_ticks = 0
    while not world.outcome().done:
        away_ticks += np.hypot(*(world.simulation.data.joint("cube").qpos[:2] - origin_m)) > 0.05
        world.advance(ramp(world.set_point, expert.action(world, world.set_point)))
    assert world.outcome().success
    assert away_ticks > 70
    assert np.hypot(*(world.simulation.data.joint("cube").qpos[:2] - origin_m)) < 0.035
