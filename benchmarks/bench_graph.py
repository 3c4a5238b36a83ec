"""What the graph adds to the networks: ``python benchmarks/bench_graph.py --json graph.json``.

The real nodes run in real time at 10 Hz with two cameras. Overhead is the time from the moment the frames leave the bridge to the
moment the arm's command leaves arm_node, less the time inside the encoder and the denoiser.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from machine import describe_machine
from policy_server.runtime import configuration
from policy_server.runtime.command import run_command
from policy_server.runtime.recording import CameraShape
from policy_server.runtime.resources import resource
from policy_server.training.configuration import ContextConfig
from random_bundle import write_random_bundle
from ros_nodes.graph import SimOptions
from sim_bridge.graph_run import run_graph
from sim_bridge.latency import LostTick, StageLatency, latency_table, read_ticks, stage_latencies

TASK = "reach_cued"
EPISODE_S = 8.8
CONTEXT = ContextConfig(16, 4)


@dataclass(frozen=True)
class Measurement:
    """One run's latencies, its ticks, and which of them no arm command answered."""

    latencies: list[StageLatency]
    cameras: int
    ticks: int
    lost: list[LostTick]

    @property
    def overhead(self) -> StageLatency:
        return next(row for row in self.latencies if row.stage == "all but the networks")


def main() -> int:
    arguments = _parse()
    result: dict[str, object] = {
        "duration_s": arguments.duration,
        "cameras": f"2 x {arguments.height} x {arguments.width}",
    }
    measured = measure(arguments.height, arguments.width, arguments.duration, arguments.domain_id)
    print(latency_table(measured.latencies))
    result |= {
        "overhead_p50_ms": round(measured.overhead.p50_ms, 3),
        "overhead_p95_ms": round(measured.overhead.p95_ms, 3),
        "overhead_p99_ms": round(measured.overhead.p99_ms, 3),
        "frames": measured.cameras * measured.ticks,
        "lost_frames": measured.cameras * len(measured.lost),
        "lost_ticks": [dataclasses.asdict(tick) for tick in measured.lost],
        "stages": [row.__dict__ for row in measured.latencies],
        "machine": describe_machine(),
    }
    overhead = f"overhead p50 {measured.overhead.p50_ms:.2f} ms, p99 {measured.overhead.p99_ms:.2f} ms"
    print(f"{overhead}; {result['lost_frames']} of {result['frames']} frames lost")
    for tick in measured.lost:
        print(f"lost at {tick.since_start_s:.1f} s, after {tick.reached}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"results are in {arguments.json}")
    return 0


def measure(height: int, width: int, duration_s: float, domain_id: int) -> Measurement:
    """Run the graph for about ``duration_s`` with two cameras of this size and an arm that is told to stay where it is."""
    cameras = [CameraShape("front", height, width), CameraShape("wrist", height, width)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = write_random_bundle(folder / "bundle", cameras, CONTEXT)
        options = SimOptions(
            bundle=str(bundle),
            task=TASK,
            episodes=max(1, round(duration_s / EPISODE_S)),
            clock="real",
            output_dir=str(folder / "run"),
            domain_id=domain_id,
            nodes_file=str(_nodes_file(folder, cameras)),
        )
        run_graph(options)
        ticks, lost = read_ticks(folder / "run")
    return Measurement(stage_latencies(ticks), len(cameras), len(ticks) + len(lost), lost)


def _nodes_file(folder: Path, cameras: list[CameraShape]) -> Path:
    """The shipped parameters, with the bridge showing these cameras and writing no video."""
    task = configuration.read_yaml(resource(f"config/tasks/{TASK}.yaml")) | {"cameras": configuration.to_plain(cameras)}
    (folder / "task.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    nodes = configuration.read_yaml(resource("config/nodes.yaml"))
    bridge = nodes.setdefault("/**/bridge_node", {"ros__parameters": {}})["ros__parameters"]
    bridge |= {"task_file": str(folder / "task.yaml"), "video": False}
    file = folder / "nodes.yaml"
    file.write_text(yaml.safe_dump(nodes), encoding="utf-8")
    return file


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_graph.py",
        description="Overhead of the ROS 2 graph beyond the networks, and lost frames, in real time at 10 Hz with two cameras.",
        epilog="example: python benchmarks/bench_graph.py --duration 600 --json graph.json",
    )
    parser.add_argument("--duration", type=float, default=60.0, help="seconds to run (default 60)")
    parser.add_argument("--height", type=int, default=96, help="rows of each camera (default 96)")
    parser.add_argument("--width", type=int, default=96, help="columns of each camera (default 96)")
    parser.add_argument("--domain-id", type=int, default=77, help="ROS domain (default 77)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
