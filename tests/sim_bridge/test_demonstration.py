from pathlib import Path

import numpy as np
import pytest

from policy_server.runtime.recording import (
    check_episode,
    list_episodes,
    read_dataset_info,
    read_episode,
    read_episode_info,
)
from policy_server.runtime.resources import resource
from ros_nodes.franka.settings import load_guard_settings
from sim_bridge.arm import GuardedArm
from sim_bridge.collect import CollectConfig, collect
from sim_bridge.demonstration import DemonstrationConfig, demonstrate
from sim_bridge.task_config import load_task_config
from sim_bridge.tasks.registry import TASKS, task_by_name
from sim_bridge.world import World

SEED = 1_000_000


@pytest.fixture(scope="module")
def arm() -> GuardedArm:
    return GuardedArm(load_guard_settings(resource("config/arm.yaml")))


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_expert_still_succeeds_when_it_drives_the_guarded_arm(name: str, arm: GuardedArm) -> None:
    task = load_task_config(name)
    world = World(task_by_name(name), ())
    bare = DemonstrationConfig(noise_rad=0.0)
    blind = type(task)(task.task, task.rate_hz, (), task.video)  # without cameras: no pictures are drawn
    assert all(demonstrate(world, arm, blind, SEED + seed, bare).outcome.success for seed in range(3))


def test_noise_moves_the_arm_but_not_the_recorded_answer(arm: GuardedArm) -> None:
    task = load_task_config("reach_cued")
    world = World(task_by_name("reach_cued"), task.cameras)
    clean = demonstrate(world, arm, task, SEED, DemonstrationConfig(noise_rad=0.0)).arrays
    noisy = demonstrate(world, arm, task, SEED, DemonstrationConfig(noise_rad=0.02)).arrays
    np.testing.assert_array_equal(clean.actions[0], noisy.actions[0])
    waiting = slice(
        1, 15
    )  # before the lamp turns white the expert asks for the start pose, wherever noise has put the arm
    assert np.abs(noisy.joints[waiting] - clean.joints[waiting]).max() > 0.003
    assert np.abs(noisy.actions[waiting] - clean.actions[waiting]).max() > 0.0
    world.close()


def test_a_demonstration_is_reproducible_bit_for_bit(arm: GuardedArm) -> None:
    task = load_task_config("reach_cued")
    recorded = []
    for _ in range(2):
        world = World(task_by_name("reach_cued"), task.cameras)
        recorded.append(demonstrate(world, arm, task, SEED + 1, DemonstrationConfig()).arrays)
        world.close()
    for one, other in (
        (recorded[0].actions, recorded[1].actions),
        (recorded[0].images["front"], recorded[1].images["front"]),
    ):
        np.testing.assert_array_equal(one, other)


def test_the_action_is_the_position_one_tick_later(arm: GuardedArm) -> None:
    task = load_task_config("reach_cued")
    world = World(task_by_name("reach_cued"), task.cameras)
    episode = demonstrate(world, arm, task, SEED, DemonstrationConfig(noise_rad=0.0)).arrays
    world.close()
    # The guard needs a tick to come up to speed when the lamp turns white.
    np.testing.assert_allclose(episode.joints[1:], episode.actions[:-1], atol=0.07)
    np.testing.assert_allclose(episode.joints[-5:], episode.actions[-6:-1], atol=0.01)


def test_collecting_again_writes_only_what_is_missing(tmp_path) -> None:  # type: ignore[no-untyped-def]
    config = CollectConfig(
        "reach_cued", tmp_path / "data", episodes=2, seed=SEED, workers=1, demonstration=DemonstrationConfig()
    )
    assert collect(config) == 0
    first, second = list_episodes(config.output)
    before = (config.output / first / "episode.yaml").stat().st_mtime_ns
    (config.output / second / "episode.yaml").unlink()
    collect(config)
    assert list_episodes(config.output) == [first, second]
    assert (config.output / first / "episode.yaml").stat().st_mtime_ns == before
    info = read_dataset_info(config.output)
    episode = read_episode(config.output, first)
    assert episode.images["front"].shape[1:] == (info.cameras[0].height, info.cameras[0].width, 3)
    assert read_episode_info(config.output, first).success


def test_features_are_recorded_with_and_without_pictures(tmp_path: Path) -> None:
    recorded = []
    for images in (True, False):
        output = tmp_path / str(images)
        config = CollectConfig("reach_cued", output, 1, SEED, 1, DemonstrationConfig(), images)
        collect(config)
        info, (name,) = read_dataset_info(output), list_episodes(output)
        check_episode(output, name)
        assert info.features == task_by_name("reach_cued").feature_names
        assert bool(info.cameras) == images
        recorded.append(read_episode(output, name))
    with_pictures, without = recorded
    np.testing.assert_array_equal(with_pictures.features, without.features)
    np.testing.assert_array_equal(with_pictures.actions, without.actions)
    assert list(with_pictures.images) == ["front"] and without.images == {}
