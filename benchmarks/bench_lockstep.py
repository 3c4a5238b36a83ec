"""How much of an evaluation is the evaluation: ``python benchmarks/bench_lockstep.py --json lockstep.json``.

The same episodes of a shipped bundle, tick for tick: bare (MuJoCo's steps with the controls that were recorded, one picture per camera and
tick, the networks' sessions on inputs that lie ready, nothing else), as ``evaluate`` runs them in one process, and through the graph
in lockstep. One thread each. Bare and one process run in turns; of the graph the time of the additional episodes of a longer run counts.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from machine import describe_machine
from policy_server.runtime.actor import draw_noise
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.command import run_command
from policy_server.runtime.engine import Denoiser
from policy_server.runtime.preprocessing import preprocess
from policy_server.runtime.resources import resource
from policy_server.runtime.session import open_session
from ros_nodes.franka.settings import load_guard_settings
from ros_nodes.graph import SimOptions
from sim_bridge.episode import EngineConfig, PolicyEpisodes
from sim_bridge.gl_backend import mujoco
from sim_bridge.graph_run import run_graph
from sim_bridge.renderer import Renderer
from sim_bridge.shipped_bundle import shipped_bundle
from sim_bridge.task_config import TaskConfig, load_task_config
from sim_bridge.tasks.task import STEPS_PER_TICK
from sim_bridge.world import World

TASKS = ("reach_cued", "press_count", "grasp_and_return")
PARTS = ("physics", "pictures", "networks")


@dataclass
class Trace:
    """What an episode did to the physics: controls of each tick's steps, float64 (steps, 8), and seconds of the whole episode."""

    controls: list[NDArray[np.float64]] = field(default_factory=list)
    seconds: float = 0.0


class RecordingWorld(World):
    """A world that notes the controls of every tick."""

    trace = Trace()

    def _controls(self, set_points: NDArray[np.float64]) -> NDArray[np.float64]:
        controls = super()._controls(set_points)
        self.trace.controls.append(controls)
        return controls


class Bare:
    """What an episode cannot do without."""

    def __init__(self, bundle: Bundle, task: TaskConfig) -> None:
        self._world = World(task.new_task(), ())
        model = self._world.simulation.model
        spec = bundle.spec
        self._cameras = [camera.name for camera in spec.cameras]
        self._renderer = Renderer(model, [view for view in task.cameras if view.name in self._cameras])
        self._every = spec.action.replan_every_ticks
        self._encoder = open_session(bundle.encoder_path, "cpu", 1)
        self._denoiser = Denoiser(bundle)
        blank = {c.name: np.zeros((c.source_height, c.source_width, 3), np.uint8) for c in spec.cameras}
        self._pictures = {camera.name: preprocess(blank[camera.name], camera)[None] for camera in spec.cameras}
        self._context = np.zeros((spec.history.length, spec.row_width), np.float32)
        self._noise = draw_noise(0, 0, self._denoiser.chunk_shape)

    def run(self, trace: Trace, seed: int) -> dict[str, float]:
        """Seconds of each part over the episode."""
        self._world.reset(seed)
        model, data = self._world.simulation.model, self._world.simulation.data
        spent_s = dict.fromkeys(PARTS, 0.0)
        for tick, controls in enumerate(trace.controls):
            start_s = time.perf_counter()
            for camera in self._cameras:
                self._renderer.render(data, camera)
            drawn_s = time.perf_counter()
            self._encoder.run(None, self._pictures)
            if tick % self._every == 0:
                self._denoiser.sample(self._context, self._noise)
            inferred_s = time.perf_counter()
            for row in controls:
                data.ctrl[:] = row
                mujoco.mj_step(model, data)
            spent_s["pictures"] += drawn_s - start_s
            spent_s["networks"] += inferred_s - drawn_s
            spent_s["physics"] += time.perf_counter() - inferred_s
        return spent_s


def main() -> int:
    arguments = _parse()
    tasks = {task: _measure(task, arguments) for task in arguments.tasks}
    for task, row in tasks.items():
        print(f"{task}: in one process {row['one_process_over_bare']} of the speed that is possible", end="")
        print(f"; through the graph {row['graph_over_bare']}" if "graph_over_bare" in row else "")
    if arguments.json:
        lowest = min(row["one_process_over_bare"] for row in tasks.values())
        result = {"lockstep_over_bare": lowest, "tasks": tasks, "machine": describe_machine()}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"results are in {arguments.json}")
    return 0


def _measure(task: str, arguments: argparse.Namespace) -> dict[str, Any]:
    path = shipped_bundle(task)
    row = _in_one_process(load_bundle(path), load_task_config(task), arguments.episodes)
    if arguments.graph_episodes:
        graph_ms = _graph_ms_per_tick(str(path), task, arguments.graph_episodes, arguments.domain_id)
        row |= {"graph_ms_per_tick": graph_ms, "graph_over_bare": round(row["bare_ms_per_tick"] / graph_ms, 3)}
    return row


def _in_one_process(bundle: Bundle, task: TaskConfig, episodes: int) -> dict[str, Any]:
    """Milliseconds per tick, and the share of the bare speed that is left; medians over the episodes."""
    world = RecordingWorld(task.new_task(), task.cameras)
    policy = PolicyEpisodes(bundle, task, load_guard_settings(resource("config/arm.yaml")), EngineConfig())
    bare = Bare(bundle, task)
    rows: list[dict[str, float]] = []
    for seed in tqdm(range(episodes + 1), desc="episodes"):
        world.trace = Trace()
        start_s = time.perf_counter()
        policy.run(world, seed)
        whole_s = time.perf_counter() - start_s
        parts_s = bare.run(world.trace, seed)
        if seed:  # the first warms up
            per_tick = 1e3 / len(world.trace.controls)
            rows.append({"whole": whole_s * per_tick, **{name: value * per_tick for name, value in parts_s.items()}})
    median = {name: statistics.median(row[name] for row in rows) for name in ("whole", *PARTS)}
    shares = [sum(row[name] for name in PARTS) / row["whole"] for row in rows]
    return {
        "one_process_over_bare": round(statistics.median(shares), 3),
        "one_process_ms_per_tick": round(median["whole"], 3),
        "bare_ms_per_tick": round(sum(median[name] for name in PARTS), 3),
        "bare_parts_ms_per_tick": {name: round(median[name], 3) for name in PARTS},
        "physics_steps_per_s": round(1e3 * STEPS_PER_TICK / median["physics"]),
        "episodes": episodes,
    }


def _graph_ms_per_tick(bundle: str, task: str, episodes: int, domain_id: int) -> float:
    """Of the episodes after the first: starting the graph and its first episode are in both runs."""
    seconds, ticks = [], []
    for count in (1, 1 + episodes):
        with tempfile.TemporaryDirectory() as folder:
            options = SimOptions(
                bundle=bundle,
                task=task,
                episodes=count,
                clock="lockstep",
                output_dir=folder,
                domain_id=domain_id,
            )
            start_s = time.perf_counter()
            results = run_graph(options).results
            seconds.append(time.perf_counter() - start_s)
            ticks.append(sum(result.ticks for result in results))
    return round(1e3 * (seconds[1] - seconds[0]) / (ticks[1] - ticks[0]), 3)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_lockstep.py",
        description="The share of an evaluation's time that MuJoCo, its pictures and the networks would take alone.",
        epilog="example: python benchmarks/bench_lockstep.py --tasks press_count --json lockstep.json",
    )
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), help="with bundles that ship (default all of them)")
    parser.add_argument("--episodes", type=int, default=20, help="in one process (default 20)")
    parser.add_argument("--graph-episodes", type=int, default=6, help="through the graph; 0 leaves it out (default 6)")
    parser.add_argument("--domain-id", type=int, default=77, help="ROS domain (default 77)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
