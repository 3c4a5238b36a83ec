"""The whole graph over real ROS 2 processes, with the policy that ships."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.resources import resource
from ros_nodes.franka.settings import load_guard_settings
from ros_nodes.graph import SimOptions, sim_graph
from ros_nodes.start import RunningGraph, check
from sim_bridge.episode import EngineConfig, EpisodeResult, PolicyEpisodes, world_for
from sim_bridge.evaluate import EvaluateConfig, evaluate
from sim_bridge.fr3 import COMMAND_JOINTS
from sim_bridge.graph_run import GraphRunError, run_graph
from sim_bridge.latency import read_ticks
from sim_bridge.run_files import read_results
from sim_bridge.sim import report
from sim_bridge.task_config import load_task_config

pytestmark = pytest.mark.ros

TASK = "reach_cued"


def options(folder: Path, domain: int, **changes: object) -> SimOptions:
    settings: dict[str, object] = {
        "episodes": 2,
        "seed": 20,
        "clock": "lockstep",
        "output_dir": str(folder),
        "domain_id": domain,
    }
    return SimOptions(bundle=str(resource(f"bundles/{TASK}")), task=TASK, **(settings | changes))  # type: ignore[arg-type]


def test_lockstep_episodes_are_reproduced_bit_for_bit_and_agree_with_one_process(
    tmp_path: Path, domain_id: int
) -> None:
    first = run_graph(options(tmp_path / "first", domain_id), show=False)
    second = run_graph(options(tmp_path / "second", domain_id), show=False)
    assert first.results == second.results
    for seed in (20, 21):
        with np.load(first.folder / f"trace_{seed}.npz") as one, np.load(second.folder / f"trace_{seed}.npz") as other:
            for name in one.files:
                np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    config = EvaluateConfig(resource(f"bundles/{TASK}"), TASK, 2, 20, 1, EngineConfig())
    assert list(evaluate(config)) == first.results
    _, lost = read_ticks(first.folder)
    assert lost == []


def test_a_policy_that_verifies_its_candidates_agrees_with_one_process(tmp_path: Path, domain_id: int) -> None:
    graph = run_graph(options(tmp_path, domain_id, episodes=1, candidates=4), show=False)
    result, measured = _run_in_one_process(20, candidates=4)
    assert [result] == graph.results
    with np.load(graph.folder / "trace_20.npz") as trace:
        np.testing.assert_array_equal(trace["measured"], measured)
    _, plain = _run_in_one_process(20, candidates=1)
    assert not np.array_equal(plain, measured), "the candidates changed nothing"


def _run_in_one_process(seed: int, candidates: int) -> tuple[EpisodeResult, np.ndarray]:
    """Result and joint positions (ticks, 8) of an episode of the shipped policy."""
    task, bundle = load_task_config(TASK), load_bundle(resource(f"bundles/{TASK}"))
    guard = load_guard_settings(resource("config/arm.yaml"))
    world = world_for(bundle, task)
    measured: list[np.ndarray] = []
    episodes = PolicyEpisodes(bundle, task, guard, EngineConfig(candidates=candidates))
    result = episodes.run(world, seed, lambda world: measured.append(world.joint_positions()[: len(COMMAND_JOINTS)]))
    world.close()
    return result, np.array(measured)


def test_a_real_time_run_shows_success_latency_and_files(
    tmp_path: Path, domain_id: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_graph(options(tmp_path, domain_id, episodes=1, clock="real"))
    report(run, options(tmp_path, domain_id, episodes=1, clock="real"), 8)
    shown = capsys.readouterr().out
    assert "episode 1/1 seed 20:" in shown
    assert "capture → arm command" in shown
    for name in ("episodes.mp4", "filmstrip.png", "joints.png", "context.png", "summary.json"):
        assert (tmp_path / name).stat().st_size > 0
        assert name in shown
    with np.load(tmp_path / "trace_20.npz") as trace:
        assert trace["context"].shape[0] == 16
        moved_rad = np.abs(trace["measured"][-1, :7] - trace["measured"][0, :7]).max()
    assert moved_rad > 0.1, "the arm never moved"


@pytest.fixture
def running(tmp_path: Path, domain_id: int) -> Iterator[RunningGraph]:
    graph = sim_graph(options(tmp_path, domain_id, episodes=50, clock="real"))
    check(graph)
    lines: list[str] = []
    running = RunningGraph(graph, lambda node, line: lines.append(line))
    running.start()
    yield running
    running.stop()


def test_every_process_ends_within_three_seconds_of_ctrl_c(running: RunningGraph, tmp_path: Path) -> None:
    _wait_for(
        lambda: (tmp_path / "timing.csv").exists() and len((tmp_path / "timing.csv").read_text().splitlines()) > 40
    )
    start_s = time.monotonic()
    complaints = running.stop(grace_s=3.0)
    assert complaints == []
    assert time.monotonic() - start_s < 30  # far beyond the grace: only a hang would reach it
    assert all(process.status == 0 for process in running.processes)
    assert all(not Path(f"/proc/{process.pid}").exists() for process in running.processes)


def test_a_killed_inference_node_takes_the_run_down_by_name(tmp_path: Path, domain_id: int) -> None:
    failure: list[BaseException] = []

    def kill_inference() -> None:
        _wait_for(lambda: (tmp_path / "timing.csv").exists() and "arm_node" in (tmp_path / "timing.csv").read_text())
        os.kill(_pid_of("ros_nodes.inference_node", domain_id), signal.SIGKILL)

    killer = threading.Thread(target=kill_inference)
    killer.start()
    try:
        run_graph(options(tmp_path, domain_id, episodes=50, clock="real"), show=False)
    except GraphRunError as error:
        failure.append(error)
    killer.join()
    assert failure and "inference_node was ended by SIGKILL" in str(failure[0])
    assert len(read_results(tmp_path)) < 50


def _pid_of(module: str, domain: int) -> int:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_text().split("\0")
            environment = (entry / "environ").read_text().split("\0")
        except OSError:
            continue
        if module in command and f"ROS_DOMAIN_ID={domain}" in environment:
            return int(entry.name)
    raise AssertionError(f"{module} does not run on domain {domain}")


def _wait_for(condition, timeout_s: float = 60.0) -> None:  # type: ignore[no-untyped-def]
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "the graph did not come up"
        time.sleep(0.05)
