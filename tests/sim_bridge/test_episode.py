import dataclasses
from pathlib import Path

import numpy as np
import pytest

from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.errors import BundleError, PolicyError
from policy_server.runtime.resources import resource
from ros_nodes.bundle_checks import check_topics_carry
from ros_nodes.franka.settings import load_guard_settings
from sim_bridge.arm import GuardedArm
from sim_bridge.demonstration import DemonstrationConfig, demonstrate
from sim_bridge.episode import EngineConfig, EpisodeResult, PolicyEpisodes, check_bundle_fits, world_for
from sim_bridge.task_config import load_task_config
from sim_bridge.tasks.registry import task_by_name
from sim_bridge.world import World
from tests.synthetic_bundle import write_synthetic_bundle


def run(bundle: Path, seeds: list[int]) -> list[EpisodeResult]:
    task = load_task_config("reach_cued")
    episodes = PolicyEpisodes(
        load_bundle(bundle), task, load_guard_settings(resource("config/arm.yaml")), EngineConfig()
    )
    world = World(task_by_name("reach_cued"), task.cameras)
    try:
        return [episodes.run(world, seed) for seed in seeds]
    finally:
        world.close()


def test_a_policy_that_stays_where_it_is_runs_out_of_time(tmp_path: Path) -> None:
    (result,) = run(write_synthetic_bundle(tmp_path / "bundle", noise_gain=0.0), [0])
    assert not result.success and result.reason == "time is up"


def test_episodes_do_not_depend_on_what_ran_before(tmp_path: Path) -> None:
    bundle = write_synthetic_bundle(
        tmp_path / "bundle", noise_gain=0.02
    )  # the fingers' answers are refused now and then
    alone = run(bundle, [7])
    after_others = run(bundle, [3, 5, 7])
    assert after_others[-1] == alone[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cameras": (("side", 96, 96),)}, "needs camera 'side' 96x96; the task has front 96x96"),
        ({"cameras": (("front", 48, 48),)}, "needs camera 'front' 48x48"),
        ({"rate_hz": 20.0}, "runs at 20.0 Hz, the task at 10.0 Hz"),
    ],
)
def test_a_bundle_for_another_world_is_refused(tmp_path: Path, settings: dict[str, object], message: str) -> None:
    bundle = load_bundle(write_synthetic_bundle(tmp_path / "bundle", **settings))  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=message):
        check_bundle_fits(bundle, load_task_config("reach_cued"))


def test_a_bundle_for_another_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="trained for 'reach_cued', not for 'press_count'"):
        check_bundle_fits(load_bundle(write_synthetic_bundle(tmp_path / "bundle")), load_task_config("press_count"))


def features_bundle(folder: Path, **settings: object) -> Path:
    names = task_by_name("reach_cued").feature_names
    return write_synthetic_bundle(folder / "bundle", **({"cameras": (), "features": names} | settings))  # type: ignore[arg-type]


def test_a_policy_that_sees_features_runs_without_drawing_a_picture(tmp_path: Path) -> None:
    task, bundle = load_task_config("reach_cued"), load_bundle(features_bundle(tmp_path, noise_gain=0.0))
    episodes = PolicyEpisodes(bundle, task, load_guard_settings(resource("config/arm.yaml")), EngineConfig())
    world = world_for(bundle, task)
    assert episodes.run(world, 0).reason == "time is up"
    with pytest.raises(PolicyError, match="without cameras"):
        world.render("front")


def test_a_policy_sees_the_very_features_that_were_recorded(tmp_path: Path) -> None:
    """The synthetic policy holds still, and so does the expert before the lamp turns white."""
    task, bundle = load_task_config("reach_cued"), load_bundle(features_bundle(tmp_path, noise_gain=0.0))
    guard = load_guard_settings(resource("config/arm.yaml"))
    world = world_for(bundle, task)
    still = DemonstrationConfig(noise_rad=0.0)
    recorded = demonstrate(world, GuardedArm(guard), dataclasses.replace(task, cameras=()), 4, still).arrays
    episodes, seen = PolicyEpisodes(bundle, task, guard, EngineConfig()), []
    observe = episodes._memory.observe
    episodes._memory.observe = lambda observation: seen.append(observation.state) or observe(observation)  # type: ignore
    episodes.run(world, 4)
    expected = np.concatenate([recorded.joints, recorded.features], axis=1)
    np.testing.assert_array_equal(seen[0], expected[0])
    colours = bundle.spec.state_names.index("lamp_red")
    np.testing.assert_array_equal(np.stack(seen[:25])[:, colours:], expected[:25, colours:])


def test_features_that_the_task_does_not_state_are_named(tmp_path: Path) -> None:
    bundle = load_bundle(features_bundle(tmp_path, features=("lamp_red", "secret")))
    with pytest.raises(BundleError, match=r"features that the task does not state: secret \(it states hand_x_m"):
        check_bundle_fits(bundle, load_task_config("reach_cued"))


def test_a_policy_that_sees_features_is_refused_by_the_graph(tmp_path: Path) -> None:
    bundle = load_bundle(features_bundle(tmp_path))
    with pytest.raises(
        BundleError, match=r"no topic carries: .*python -m sim_bridge\.evaluate --bundle .* --task reach_cued"
    ):
        check_topics_carry(bundle)
    check_topics_carry(load_bundle(write_synthetic_bundle(tmp_path / "pictures")))
