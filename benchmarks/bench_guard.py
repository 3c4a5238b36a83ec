"""What the guard costs and how evenly it commands: ``python benchmarks/bench_guard.py --json guard.json``.

Cost: processor time of everything between a chunk and what a controller is given, the way to rest included, per set-point: on a
calm plan, on one that swings all joints at up to 1.4 rad/s, and with the hand close above the table; chunks at 10 Hz, commands at
50 Hz. The figure that counts is the worst of the three at 200 Hz. Jitter: the shipped policy drives the simulated arm
through the real graph at 200 set-points and 200 commands per second; how far the pauses between commands are from 5 ms.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import rclpy
import yaml
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from tqdm import tqdm
from trajectory_msgs.msg import JointTrajectory

from machine import describe_machine
from policy_server.runtime import configuration
from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.clock import NS_PER_MS
from policy_server.runtime.command import run_command
from policy_server.runtime.resources import resource
from ros_nodes import environment, messages, qos, topics
from ros_nodes.franka.arm_shape import capsules, lowest_m
from ros_nodes.franka.guard import Guard
from ros_nodes.franka.kinematics import arm_pose
from ros_nodes.franka.settings import GuardSettings, load_guard_settings
from ros_nodes.graph import SimOptions
from ros_nodes.lifecycle import leave_domain
from sim_bridge.graph_run import run_graph

TASK = "reach_cued"
EPISODE_S = 8.8
TICK_NS = 100 * NS_PER_MS
COMMAND_NS = 20 * NS_PER_MS
PERIODS_MS = (10, 5, 1)
RATE_MS = 5
RESET_NS = 500 * NS_PER_MS
READY = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4, 0.02])
LOW = np.array([0.0, 0.25, 0.0, -2.2, 0.0, 2.45, np.pi / 4, 0.02])
"""The hand points down, its fingertips about 2 cm above the guard's table plane of the benchmark."""

Array = NDArray[np.float64]


def main() -> int:
    arguments = _parse()
    costs = guard_costs(arguments.ticks)
    result: dict[str, object] = {
        "us_per_set_point": max(by_period[f"{RATE_MS} ms"] for by_period in costs.values()),
        "us_by_motion_and_period": costs,
    }
    for name, by_period in costs.items():
        print(f"{name:>5}: " + ", ".join(f"{cost:.0f} us at {period}" for period, cost in by_period.items()))
    print(f"guard: at most {result['us_per_set_point']} us of processor time per set-point at 200 Hz")
    if arguments.duration > 0.0:
        result |= jitter(arguments.duration, arguments.domain_id)
        print(
            f"jitter at 200 Hz: p99 {result['jitter_p99_ms']} ms, seen by a reader {result['arrival_jitter_p99_ms']} ms"
        )
    result["machine"] = describe_machine()
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"results are in {arguments.json}")
    return 0


# --- cost -------------------------------------------------------------------------------------------------------------


def guard_costs(ticks: int) -> dict[str, dict[str, float]]:
    """Microseconds per set-point, by motion and period of the set-points."""
    settings = load_guard_settings(resource("config/arm.yaml"))
    tight = replace(
        settings, workspace=replace(settings.workspace, table_height_m=_tip_height_m(LOW) - 0.02, table_clearance_m=0.0)
    )
    motions = {"calm": (settings, READY, 0.1), "fast": (settings, READY, 0.35), "low": (tight, LOW, 0.04)}
    found: dict[str, dict[str, float]] = {}
    with tqdm(total=len(motions) * len(PERIODS_MS), desc="guard", unit="case") as bar:
        for name, (chosen, centre, swing) in motions.items():
            found[name] = {}
            for period_ms in PERIODS_MS:
                at_rate = replace(chosen, set_point_period_ns=period_ms * NS_PER_MS)
                found[name][f"{period_ms} ms"] = round(_us_per_set_point(at_rate, centre, swing, ticks), 2)
                bar.update()
    return found


def _us_per_set_point(settings: GuardSettings, centre: Array, swing_rad: float, ticks: int) -> float:
    """All that ``arm_node`` asks of the guard: a chunk per tick; set-points and the way to rest for every command."""
    guard = Guard(settings)
    guard.latch(centre, 0)
    chunks = [_chunk(tick, guard.joints, centre, swing_rad) for tick in range(ticks)]
    spent_ns, count = 0, 0
    for tick, chunk in enumerate(chunks):
        start_ns = time.process_time_ns()
        guard.accept(chunk, tick * TICK_NS)
        for command_ns in range(tick * TICK_NS + COMMAND_NS, (tick + 1) * TICK_NS + 1, COMMAND_NS):
            count += len(guard.advance(command_ns))
            guard.braking_tail()
        spent_ns += time.process_time_ns() - start_ns
    return spent_ns / count / 1e3


def _chunk(tick: int, joints: tuple[str, ...], centre: Array, swing_rad: float) -> ActionChunk:
    times_s = 0.1 * np.arange(tick + 1, tick + 13)
    waves = np.sin(times_s[:, None] * np.linspace(1.0, 4.0, 8))
    positions = centre + swing_rad * waves * np.array([1.0] * 7 + [0.02])
    return ActionChunk(tick * TICK_NS, TICK_NS, joints, positions.astype(np.float32))


def _tip_height_m(position: Array) -> float:
    return lowest_m(capsules(arm_pose(position.tolist()), float(position[7])))


# --- jitter -----------------------------------------------------------------------------------------------------------


def jitter(duration_s: float, domain_id: int) -> dict[str, object]:
    """How far the pauses between two commands are from 5 ms, by the arm's own stamps and by a reader's clock."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = SimOptions(
            bundle=str(resource(f"bundles/{TASK}")),
            task=TASK,
            episodes=max(1, round(duration_s / EPISODE_S)),
            clock="real",
            output_dir=str(folder / "run"),
            domain_id=domain_id,
            nodes_file=str(_nodes_file(folder)),
            arm_file=str(_arm_file(folder)),
        )
        environment.prepare_process()
        with _recorded(domain_id) as arrivals:
            run_graph(options)
    stamps_ns, received_ns = np.array(arrivals, np.int64).T
    return {
        "jitter_p99_ms": _deviation_ms(stamps_ns, 99),
        "jitter_p50_ms": _deviation_ms(stamps_ns, 50),
        "arrival_jitter_p99_ms": _deviation_ms(received_ns, 99),
        "commands": len(arrivals),
        "resets": int((np.diff(stamps_ns) > RESET_NS).sum()),
        "duration_s": duration_s,
    }


def _deviation_ms(times_ns: NDArray[np.int64], percentile: int) -> float:
    """Of the pauses from ``RATE_MS``; the pauses at resets, in which nothing is commanded, are left out."""
    pauses_ms = np.diff(times_ns)[np.diff(times_ns) < RESET_NS] / 1e6
    return round(float(np.percentile(np.abs(pauses_ms - RATE_MS), percentile)), 3)


def _arm_file(folder: Path) -> Path:
    values = configuration.read_yaml(resource("config/arm.yaml")) | {"set_point_period_s": RATE_MS / 1e3}
    file = folder / "arm.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


def _nodes_file(folder: Path) -> Path:
    nodes = configuration.read_yaml(resource("config/nodes.yaml"))
    nodes["/**/arm_node"]["ros__parameters"] |= {"command_period_s": RATE_MS / 1e3}
    nodes.setdefault("/**/bridge_node", {"ros__parameters": {}})["ros__parameters"] |= {"video": False}
    file = folder / "nodes.yaml"
    file.write_text(yaml.safe_dump(nodes), encoding="utf-8")
    return file


@contextmanager
def _recorded(domain_id: int) -> Iterator[list[tuple[int, int]]]:
    """(stamp, arrival) of every command to the arm, in ns."""
    arrivals: list[tuple[int, int]] = []
    context = Context()
    rclpy.init(context=context, domain_id=domain_id, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("bench_guard", context=context)
    node.create_subscription(
        JointTrajectory,
        topics.ARM_TRAJECTORY,
        lambda message: arrivals.append((messages.stamp_to_ns(message.header.stamp), time.time_ns())),
        qos.JOINT_TRAJECTORY,
    )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    ended = threading.Event()

    def spin() -> None:
        while not ended.is_set():
            executor.spin_once(timeout_sec=0.1)

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield arrivals
    finally:
        ended.set()
        thread.join(timeout=1.0)
        node.destroy_node()
        executor.shutdown()
        del node
        leave_domain()
        rclpy.shutdown(context=context)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_guard.py",
        description="Processor time of the guard per set-point, and jitter of the arm's commands at 200 Hz while the policy runs.",
        epilog="example: python benchmarks/bench_guard.py --duration 60 --json guard.json",
    )
    parser.add_argument(
        "--ticks", type=int, default=200, help="policy ticks per case of the guard's cost (default 200)"
    )
    parser.add_argument(
        "--duration", type=float, default=60.0, help="seconds of the real graph; 0 leaves the jitter out"
    )
    parser.add_argument("--domain-id", type=int, default=78, help="ROS domain (default 78)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
