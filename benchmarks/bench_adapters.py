"""What adapters cost: ``python benchmarks/bench_adapters.py --json adapters.json``.

Three questions, with networks of the shipped recipe and random weights. A chunk: from a graph that takes no adapters, from one that
takes them and has none, and with adapters of some ranks. Loading: what the node's callbacks are held for, and what goes on
beside them. The running graph, in real time at 10 Hz: what a switch costs on the way from a context to its chunk.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tqdm import tqdm

from machine import describe_machine
from policy_server.export.writing import write_bundle
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime import configuration
from policy_server.runtime.adapter import Adapter, read_adapter, write_adapter
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.clock import NS_PER_MS
from policy_server.runtime.command import run_command
from policy_server.runtime.engine import Denoiser
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.recording import DATASET_SCHEMA, CameraShape, DatasetInfo
from policy_server.runtime.resources import resource
from policy_server.training.configuration import ContextConfig, TrainingConfig, ViewConfig, policy_spec
from random_bundle import JOINTS
from ros_nodes.adapters import AdapterCommandError, connected
from ros_nodes.graph import SimOptions
from sim_bridge.graph_run import GraphRunError, run_graph
from sim_bridge.latency import TickTimes, read_ticks

TASK = "reach_cued"
EPISODE_S = 8.8
RANKS = (4, 16)
_STILL = 1e-4  # rad: the arm stays where it is
_SWITCH_EVERY_S = 0.73  # no multiple of the policy's period


@dataclass(frozen=True)
class Switch:
    """One change of the active adapter: when it was asked for and when the node had said yes, wall time."""

    asked_ns: int
    answered_ns: int


def main() -> int:
    arguments = _parse()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        policy, spec = _random_policy()
        bundles = {}
        for kind, adaptable in (("plain", False), ("adaptable", True)):
            print(f"exporting the {kind} bundle …", flush=True)
            write_bundle(policy, spec, folder / kind, {"how": "random weights"}, adaptable=adaptable)
            bundles[kind] = load_bundle(folder / kind)
        files = {rank: _write_adapter(folder, bundles["adaptable"], rank) for rank in RANKS}
        result: dict[str, object] = {
            "layers": len(bundles["adaptable"].manifest.adaptable),
            "sample": _measure_samples(bundles["plain"], bundles["adaptable"], files, arguments.rounds),
            "loading": _measure_loading(bundles["adaptable"], files, arguments.rounds),
        }
        if arguments.duration > 0:
            result["running_graph"] = _measured_or_why_not(
                folder / "adaptable", list(files.values()), folder, arguments.duration, arguments.domain_id
            )
    result |= {"rounds": arguments.rounds, "machine": describe_machine()}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"results are in {arguments.json}")
    return 0


def _random_policy() -> tuple[DiffusionPolicy, PolicySpec]:
    """The shipped recipe's networks with one camera, and their spec."""
    torch.manual_seed(0)
    recipe = configuration.read_yaml(resource(f"config/training/{TASK}.yaml"))
    views = {"front": configuration.to_plain(ViewConfig(64, 64))}
    recipe |= {"name": "random", "cameras": views, "context": configuration.to_plain(ContextConfig(16, 4))}
    config = configuration.build(TrainingConfig, recipe, "the shipped recipe")
    task = configuration.read_yaml(resource(f"config/tasks/{TASK}.yaml"))
    cameras = tuple(CameraShape(camera["name"], camera["height"], camera["width"]) for camera in task["cameras"])
    spec = policy_spec(config, DatasetInfo(DATASET_SCHEMA, TASK, 10.0, cameras, JOINTS, JOINTS))
    policy = DiffusionPolicy(spec, config.model)
    policy.scaling.action_half_range.fill_(_STILL)
    return policy, spec


def _write_adapter(folder: Path, bundle: Bundle, rank: int) -> Path:
    """A random adapter of every layer."""
    generator = np.random.default_rng(rank)
    layers = {}
    for path, (out, *fan_in) in bundle.manifest.adaptable.items():
        down = generator.standard_normal((rank, *fan_in)) / np.sqrt(np.prod(fan_in))
        up = 0.1 * generator.standard_normal((out, rank, *(1 for _ in fan_in[1:])))
        layers[path] = (down.astype(np.float32), up.astype(np.float32))
    file = folder / f"rank_{rank}.safetensors"
    write_adapter(file, Adapter(f"rank {rank}", bundle.hash, rank, 1.0, layers))
    return file


def _measure_samples(plain: Bundle, adaptable: Bundle, files: dict[int, Path], rounds: int) -> dict[str, object]:
    """Median cost of a chunk, interleaved. The processor time of the sampling thread tells more on a busy machine than the clock."""
    spec = plain.spec
    rows = np.random.default_rng(0).standard_normal((spec.history.length, spec.row_width)).astype(np.float32)
    noise = np.random.default_rng(1).standard_normal((1, spec.action.horizon, len(spec.action.joints)))
    without, with_inputs = Denoiser(plain), Denoiser(adaptable)
    for file in files.values():
        with_inputs.load(read_adapter(file))
    cases: dict[str, tuple[Denoiser, str | None]] = {"takes none": (without, None), "none active": (with_inputs, None)}
    cases |= {f"rank {rank}": (with_inputs, f"rank {rank}") for rank in files}
    wall_ms: dict[str, list[float]] = {name: [] for name in cases}
    cpu_ms: dict[str, list[float]] = {name: [] for name in cases}
    for _ in tqdm(range(rounds), desc="chunks"):
        for name, (denoiser, adapter) in cases.items():
            denoiser.activate(adapter)
            start_s, start_cpu_s = time.perf_counter(), time.thread_time()
            denoiser.sample_many(rows, noise.astype(np.float32))
            cpu_ms[name].append(1e3 * (time.thread_time() - start_cpu_s))
            wall_ms[name].append(1e3 * (time.perf_counter() - start_s))
    base_ms = statistics.median(cpu_ms["takes none"])
    table = {
        name: {
            "median_ms": round(statistics.median(wall_ms[name]), 3),
            "median_processor_ms": round(statistics.median(cpu_ms[name]), 3),
            "ratio": round(statistics.median(cpu_ms[name]) / base_ms, 3),
        }
        for name in cases
    }
    for name, row in table.items():
        print(
            f"chunk, {name:<12} {row['median_processor_ms']:8.2f} ms of processor, {row['ratio']:5.3f} x a graph that takes none"
        )
    return dict(table)


def _measure_loading(bundle: Bundle, files: dict[int, Path], rounds: int) -> dict[str, object]:
    """Median times of the parts of a switch in the node: read and check (in the callback), load (beside it), activate."""
    denoiser = Denoiser(bundle)
    table = {}
    for rank, file in files.items():
        parts: dict[str, list[float]] = {"read_and_check_ms": [], "load_ms": [], "activate_ms": []}
        for _ in tqdm(range(max(3, rounds // 10)), desc=f"loading rank {rank}"):
            adapter = _timed(parts["read_and_check_ms"], lambda file=file: _read_checked(file, denoiser))
            _timed(parts["load_ms"], lambda adapter=adapter: denoiser.load(adapter))
            _timed(parts["activate_ms"], lambda adapter=adapter: denoiser.activate(adapter.name))
            denoiser.activate(None)
            denoiser.drop(adapter.name)
        medians = {name: round(statistics.median(values), 4) for name, values in parts.items()}
        table[f"rank {rank}"] = {"file_kb": round(file.stat().st_size / 1e3, 1), **medians}
        print(f"rank {rank}: {table[f'rank {rank}']}")
    return dict(table)


def _read_checked(file: Path, denoiser: Denoiser) -> Adapter:
    adapter = read_adapter(file)
    denoiser.check(adapter)
    return adapter


def _timed(durations_ms: list[float], work: Callable[[], Any]) -> Any:
    start_s = time.perf_counter()
    result = work()
    durations_ms.append(1e3 * (time.perf_counter() - start_s))
    return result


def _measured_or_why_not(
    bundle: Path, files: Sequence[Path], folder: Path, duration_s: float, domain_id: int
) -> dict[str, object]:
    """The other figures are kept when the machine is too busy for the graph."""
    try:
        return _measure_graph(bundle, files, folder, duration_s, domain_id)
    except GraphRunError as error:
        print(f"the graph did not run to its end: {error}", file=sys.stderr)
        return {"error": str(error)}


def _measure_graph(
    bundle: Path, files: Sequence[Path], folder: Path, duration_s: float, domain_id: int
) -> dict[str, object]:
    """Latency on the way from a context to its chunk, less the network, of ticks in which a switch fell and of all others."""
    options = SimOptions(
        bundle=str(bundle),
        task=TASK,
        episodes=max(1, round(duration_s / EPISODE_S)),
        clock="real",
        output_dir=str(folder / "run"),
        domain_id=domain_id,
        nodes_file=str(_nodes_file(folder)),
    )
    ended = threading.Event()
    switches: list[Switch] = []
    switcher = threading.Thread(target=_switch, args=(files, ended, switches, domain_id), daemon=True)
    switcher.start()
    try:
        run_graph(options)
    finally:
        ended.set()
        switcher.join()
    ticks, lost = read_ticks(folder / "run")
    near, far = [], []
    for tick in ticks:
        (near if any(_falls_into(switch, tick) for switch in switches) else far).append(_inference_overhead_ms(tick))
    result: dict[str, object] = {
        "switches": len(switches),
        "ticks": len(ticks) + len(lost),
        "ticks_without_answer": len(lost),
        "of_these_near_a_switch": sum(_is_near(tick.stamp_ns, switches) for tick in lost),
        "share_of_ticks_near_a_switch": round(len(near) / max(1, len(ticks)), 3),
        "answer_to_a_switch_ms": _percentiles([(s.answered_ns - s.asked_ns) / NS_PER_MS for s in switches]),
        "inference_less_network_ms": {"with a switch": _percentiles(near), "without": _percentiles(far)},
        "denoiser_ms": _percentiles([tick.denoiser_ns / NS_PER_MS for tick in ticks if tick.denoiser_ns]),
    }
    if near and far:
        result["switch_costs_ms"] = round(statistics.median(near) - statistics.median(far), 3)
    print(json.dumps(result, indent=1))
    return result


def _nodes_file(folder: Path) -> Path:
    """The shipped parameters, without a video, and with a memory that a busy machine's pauses do not tear."""
    nodes = configuration.read_yaml(resource("config/nodes.yaml"))
    for node, parameters in (("bridge_node", {"video": False}), ("history_node", {"max_gap_s": 60.0})):
        section = nodes.setdefault(f"/**/{node}", {"ros__parameters": {}})
        section["ros__parameters"] |= parameters
    file = folder / "nodes.yaml"
    file.write_text(yaml.safe_dump(nodes), encoding="utf-8")
    return file


def _switch(files: Sequence[Path], ended: threading.Event, switches: list[Switch], domain_id: int) -> None:
    """Load the adapters into the running graph, then activate one after the other until the run ends."""
    os.environ["ROS_DOMAIN_ID"] = str(domain_id)
    try:
        with connected(timeout_s=30.0) as client:
            client.set(adapters=",".join(map(str, files)))
            shelf = client.wait(lambda shelf: all(adapter["state"] == "ready" for adapter in shelf["adapters"]))
            names = ["", *(adapter["name"] for adapter in shelf["adapters"])]
            while not ended.wait(_SWITCH_EVERY_S):
                asked_ns = time.time_ns()
                client.set(adapter=names[(len(switches) + 1) % len(names)])
                switches.append(Switch(asked_ns, time.time_ns()))
    except AdapterCommandError as error:
        if not ended.is_set():
            print(f"no more switches: {error}", file=sys.stderr)


def _falls_into(switch: Switch, tick: TickTimes) -> bool:
    """Whether the node was asked to switch while it had this tick in hand, or in the period before, whose sample is the next."""
    return (
        switch.asked_ns <= tick.inference_published_ns
        and tick.inference_received_ns <= switch.answered_ns + 100 * NS_PER_MS
    )


def _is_near(stamp_ns: int, switches: Sequence[Switch]) -> bool:
    """Whether a tick that was never answered was captured while, or in the period before or after, a switch was under way."""
    period_ns = 100 * NS_PER_MS
    return any(switch.asked_ns - period_ns <= stamp_ns <= switch.answered_ns + period_ns for switch in switches)


def _inference_overhead_ms(tick: TickTimes) -> float:
    return (tick.inference_published_ns - tick.history_published_ns - tick.denoiser_ns) / NS_PER_MS


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return {
        "count": len(values),
        "p50": round(p50, 3),
        "p95": round(p95, 3),
        "p99": round(p99, 3),
        "max": round(max(values), 3),
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_adapters.py",
        description="Cost of a chunk with and without adapters, of loading one, and of a switch on the running graph.",
        epilog="example: python benchmarks/bench_adapters.py --json adapters.json",
    )
    parser.add_argument("--rounds", type=int, default=100, help="chunks per case (default 100)")
    parser.add_argument(
        "--duration", type=float, default=60.0, help="seconds to run the graph for; 0 leaves it out (default 60)"
    )
    parser.add_argument("--domain-id", type=int, default=77, help="ROS domain (default 77)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
