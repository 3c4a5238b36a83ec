"""Shifted worlds: what changes, what stays, and that the task can still be solved."""

import dataclasses
import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policy_server.runtime.errors import DatasetError
from policy_server.runtime.recording import list_episodes, read_dataset_info
from policy_server.runtime.resources import resource
from ros_nodes.graph import SimOptions, sim_graph
from sim_bridge import evaluate as evaluate_command
from sim_bridge.check_experts import ExpertEpisode, run_expert
from sim_bridge.collect import CollectConfig, collect, dataset_info, default_name
from sim_bridge.demonstration import DemonstrationConfig
from sim_bridge.shift import AS_BUILT, CameraPose, Shift, ShiftError, load_shift, read_shift, shift_names
from sim_bridge.task_config import load_task_config
from sim_bridge.tasks import lamp
from sim_bridge.tasks.registry import TASKS, task_by_name
from sim_bridge.world import CameraView, World
from tests.synthetic_bundle import write_synthetic_bundle

SEED = 5003
PAIRS = [(shift, task) for shift in shift_names() for task in TASKS if read_shift(shift).concerns(task)]
ONE_TASK_EACH = [
    ("high_table", "press_count"),
    ("large_objects", "push_to_goal"),
    ("low_table", "reach_cued"),
    ("moved_camera", "reach_cued"),
    ("new_code", "press_count"),
    ("new_colours", "shell_game"),
    ("small_objects", "pick_and_place"),
    ("swapped_signals", "press_count"),
]
VIEWS = [CameraView("front", 48, 48), CameraView("wrist", 48, 48)]


def world_of(task: str, shift: str, views: list[CameraView] | None = None) -> World:
    return World(task_by_name(task, load_shift(shift, task)), views or [])


@functools.cache
def shared(task: str, shift: str) -> World:
    return world_of(task, shift)


def named(world: World) -> dict[str, float]:
    return dict(zip(world.task.feature_names, world.features().tolist(), strict=True))


def hold(world: World, ticks: int) -> None:
    world.advance(np.repeat(world.set_point[None], 50 * ticks, axis=0))


@pytest.mark.parametrize(("shift", "task"), ONE_TASK_EACH)
def test_the_expert_still_succeeds_under_every_shift(shift: str, task: str) -> None:
    assert run_expert(ExpertEpisode(task, SEED, knows=True, shift=shift), shared(task, shift)).success


def test_every_shift_is_among_those_that_are_tried() -> None:
    assert sorted(shift for shift, _ in ONE_TASK_EACH) == list(shift_names())


@pytest.mark.slow
@pytest.mark.parametrize(("shift", "task"), PAIRS)
def test_the_experts_of_all_tasks_succeed_under_all_shifts(shift: str, task: str) -> None:
    world = shared(task, shift)
    episodes = [ExpertEpisode(task, SEED + i, knows=True, shift=shift) for i in range(4)]
    assert all(run_expert(episode, world).success for episode in episodes)


@pytest.mark.parametrize(("shift", "task"), PAIRS)
def test_an_episode_is_drawn_alike_with_and_without_the_shift(shift: str, task: str) -> None:
    drawn = []
    for name in ("", shift):
        world = shared(task, name)
        world.reset(SEED)
        drawn.append({key: value for key, value in vars(world.task.episode).items() if key != "cubes_m"})  # type: ignore[attr-defined]
    for key, value in drawn[0].items():
        np.testing.assert_array_equal(value, drawn[1][key])


@pytest.mark.parametrize("shift", ["low_table", "high_table"])
def test_objects_follow_the_table_and_the_hand_starts_where_it_did(shift: str) -> None:
    built, moved = shared("pick_and_place", ""), shared("pick_and_place", shift)
    for world in (built, moved):
        world.reset(SEED)
    before, after = named(built), named(moved)
    for name in before:
        raised_m = moved.task.shift.table_m if name == "cube_z_m" else 0.0
        assert after[name] - before[name] == pytest.approx(raised_m, abs=1e-6), name
    assert moved.hand_position()[2] == pytest.approx(after["hand_z_m"] - moved.task.shift.table_m)


def test_every_height_that_is_stated_is_above_the_arms_base() -> None:
    built, moved = shared("shell_game", ""), shared("shell_game", "low_table")
    for world in (built, moved):
        world.reset(SEED)
    before, after = named(built), named(moved)
    for cup in ("right", "middle", "left"):
        assert after[f"cup_{cup}_z_m"] - before[f"cup_{cup}_z_m"] == pytest.approx(-0.06, abs=1e-6)
        assert after[f"cup_{cup}_x_m"] == before[f"cup_{cup}_x_m"]


def test_the_rooms_cameras_and_the_floor_stay_where_they_are_when_the_table_moves() -> None:
    models = [world_of("reach_cued", shift).simulation.model for shift in ("", "low_table")]
    for name in ("front", "video"):
        above_base_m = [model.camera(name).pos[2] - model.body("fr3_link0").pos[2] for model in models]
        assert above_base_m[0] == pytest.approx(above_base_m[1])
    floors_m = [model.geom("floor").pos[2] - model.body("fr3_link0").pos[2] for model in models]
    assert floors_m[0] == pytest.approx(floors_m[1])


def test_a_moved_camera_sees_another_picture_and_nothing_else_changes() -> None:
    built, moved = (world_of("reach_cued", shift, VIEWS) for shift in ("", "moved_camera"))
    for world in (built, moved):
        world.reset(SEED)
    assert (built.render("front") != moved.render("front")).mean() > 0.1
    np.testing.assert_array_equal(built.render("wrist"), moved.render("wrist"))
    np.testing.assert_array_equal(built.features(), moved.features())
    np.testing.assert_array_equal(built.simulation.data.qpos, moved.simulation.data.qpos)
    built.close()
    moved.close()


def test_under_a_new_code_the_same_cube_is_asked_for_by_another_light_and_that_is_all_that_is_seen() -> None:
    built, moved = shared("reach_cued", ""), shared("reach_cued", "new_code")
    code = moved.task.shift.cue_code
    colours: dict[str, Any] = built.task._colours  # type: ignore[attr-defined]
    for world in (built, moved):
        world.reset(SEED)
        hold(world, world.task.episode.cue_tick)  # type: ignore[attr-defined]
    asked = tuple(colours)[built.task.episode.cue]  # type: ignore[attr-defined]
    shown = [
        tuple(round(named(world)[name], 4) for name in ("lamp_red", "lamp_green", "lamp_blue"))
        for world in (built, moved)
    ]
    assert shown[0] == colours[asked] and shown[1] == colours[next(light for light in code if code[light] == asked)]
    lights = [name.startswith("lamp_") for name in built.task.feature_names]
    np.testing.assert_array_equal(built.features()[~np.array(lights)], moved.features()[~np.array(lights)])


def test_under_a_new_code_one_press_more_is_asked_for_than_the_lamp_flashes() -> None:
    world = shared("press_count", "new_code")
    outcome = run_expert(ExpertEpisode("press_count", SEED, knows=True, shift="new_code"), world)
    flashes = world.task.episode.flashes  # type: ignore[attr-defined]
    assert outcome.reason == f"pressed {flashes + 1} times, {flashes + 1} were asked"


def test_new_colours_are_on_the_cubes_and_in_the_lamp() -> None:
    world = shared("reach_cued", "new_colours")
    world.reset(SEED)
    hold(world, world.task.episode.cue_tick)  # type: ignore[attr-defined]
    asked = ("red", "green", "blue")[world.task.episode.cue]  # type: ignore[attr-defined]
    colour = world.task.shift.colours[asked]
    model = world.simulation.model
    np.testing.assert_allclose(model.geom_rgba[model.body(f"cube_{asked}").geomadr[0], :3], colour, rtol=1e-6)
    np.testing.assert_allclose(model.geom_rgba[world.simulation.geom_id(lamp.GEOM), :3], colour, rtol=1e-6)


@pytest.mark.parametrize(
    ("task", "body"),
    [("reach_cued", "cube_red"), ("grasp_and_return", "cube"), ("push_to_goal", "disc"), ("shell_game", "cup_0")],
)
def test_objects_have_the_size_that_the_shift_asks_for(task: str, body: str) -> None:
    sizes_m = []
    for shift in ("", "small_objects"):
        model = shared(task, shift).simulation.model
        sizes_m.append(model.geom_size[model.body(body).geomadr[0], 0])
    assert sizes_m[1] == pytest.approx(0.7 * sizes_m[0])


@pytest.mark.parametrize("task", TASKS)
def test_no_shift_is_the_world_as_it_is_built(task: str) -> None:
    assert load_shift("", task) == AS_BUILT == load_task_config(task).shift


@pytest.mark.parametrize(
    ("shift", "task", "words"),
    [
        ("low_tabel", "reach_cued", "did you mean 'low_table'"),
        ("swapped_signals", "reach_cued", "changes nothing of task 'reach_cued', only of press_count"),
    ],
)
def test_a_shift_that_is_unknown_or_changes_nothing_is_refused(shift: str, task: str, words: str) -> None:
    with pytest.raises(ShiftError, match=words):
        load_task_config(task, shift=shift)


@pytest.mark.parametrize(
    ("task", "shift", "words"),
    [
        ("reach_cued", {"colours": {"gren": (0.0, 0.0, 0.0)}}, "did you mean 'green'"),
        ("reach_cued", {"cue_code": {"red": "green"}}, "mean another cube"),
        ("press_count", {"cue_code": {"1": "0"}}, "1 or more"),
        ("pick_and_place", {"cue_code": {"1": "2"}}, "has no '1'"),
    ],
)
def test_a_shift_of_what_the_task_does_not_have_is_refused(task: str, shift: dict[str, Any], words: str) -> None:
    with pytest.raises(ShiftError, match=words):
        task_by_name(task, Shift("odd", **shift))


def test_the_camera_on_the_hand_cannot_be_moved() -> None:
    pose = CameraPose((0.0, 0.0, 1.0), (0.0, 0.1, 0.0))
    with pytest.raises(ShiftError, match="only front and video"):
        World(task_by_name("reach_cued", Shift("odd", cameras={"wrist": pose})), [])


def test_a_dataset_says_what_was_shifted_and_holds_nothing_else(tmp_path: Path) -> None:
    config = CollectConfig("reach_cued", tmp_path, 1, SEED, 1, DemonstrationConfig(), images=False, shift="low_table")
    assert collect(config) == 0 and len(list_episodes(tmp_path)) == 1
    shift = read_dataset_info(tmp_path).shift
    assert (shift["name"], shift["table_m"]) == ("low_table", -0.06)
    for other in ("", "high_table"):
        with pytest.raises(DatasetError, match="another dataset"):
            collect(dataclasses.replace(config, shift=other))


def test_a_dataset_without_a_shift_says_none_and_names_are_told_apart() -> None:
    assert dataset_info(load_task_config("reach_cued")).shift == {}
    assert default_name("reach_cued", "", images=False) == "reach_cued_features"
    assert default_name("reach_cued", "low_table", images=True) == "reach_cued_low_table"


def test_the_figures_of_an_evaluation_say_what_was_shifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_synthetic_bundle(tmp_path / "bundle", cameras=(), noise_gain=0.0)
    file = tmp_path / "figures.json"
    options = f"--bundle {bundle} --task reach_cued --shift new_code --episodes 1 --workers 1 --json {file}"
    monkeypatch.setattr(sys, "argv", ["evaluate", *options.split()])
    assert evaluate_command.main() == 0
    assert json.loads(file.read_text())["shift"]["cue_code"] == {"red": "green", "green": "blue", "blue": "red"}


def test_the_graph_tells_the_bridge_which_world_it_is() -> None:
    options = SimOptions(bundle=str(resource("bundles/reach_cued")), task="reach_cued", shift="low_table", domain_id=7)
    (bridge,) = [node for node in sim_graph(options).nodes if node.name == "bridge_node"]
    assert bridge.parameters["shift"] == "low_table"
