"""What a tick costs against the context length: ``python benchmarks/bench_context.py --json context.json``.

A tick is: preprocess and encode one new frame per camera, append to the history, gather the context, sample one chunk.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from tqdm import tqdm

from machine import describe_machine
from policy_server.runtime.actor import Actor
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.command import run_command
from policy_server.runtime.memory import Memory
from policy_server.runtime.observation import Observation
from policy_server.runtime.recording import CameraShape
from policy_server.training.configuration import ContextConfig
from random_bundle import JOINTS, write_random_bundle

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CONTEXTS = (2, 4, 8, 16, 32, 64, 128, 256)
CAMERAS = (CameraShape("front", 96, 96), CameraShape("wrist", 96, 96))


def main() -> int:
    arguments = _parse()
    with tempfile.TemporaryDirectory() as folder:
        bundle = load_bundle(write_random_bundle(Path(folder), CAMERAS, ContextConfig(max(CONTEXTS), 1)))
        ticks = [_tick_of(bundle, length, arguments.threads) for length in CONTEXTS]
        durations_ms = _interleaved(ticks, arguments.rounds)
    medians = [statistics.median(row) for row in durations_ms]
    by_length = dict(zip(CONTEXTS, medians, strict=True))
    result = {
        "contexts": list(CONTEXTS),
        "tick_ms": [round(value, 3) for value in medians],
        "ratio_128_over_2": round(by_length[128] / by_length[2], 3),
        "ratio_256_over_2": round(by_length[256] / by_length[2], 3),
        "rounds": arguments.rounds,
        "threads": arguments.threads,
        "cameras": "2 x 96 x 96",
        "machine": describe_machine(),
    }
    for length, value in by_length.items():
        print(f"context {length:>3}: {value:6.2f} ms")
    print(f"128 over 2: {result['ratio_128_over_2']}, 256 over 2: {result['ratio_256_over_2']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        plot = arguments.json.with_suffix(".png")
        _plot(durations_ms, plot)
        print(f"results are in {arguments.json}, the line in {plot}")
    return 0


def _tick_of(longest: Bundle, length: int, threads: int) -> Callable[[], None]:
    """One tick of a policy whose history is full. The graphs take any length, so one export serves all."""
    spec = longest.spec
    history = dataclasses.replace(spec.history, offsets_ticks=spec.history.offsets_ticks[-length:])
    manifest = dataclasses.replace(longest.manifest, policy=dataclasses.replace(spec, history=history))
    bundle = dataclasses.replace(longest, manifest=manifest)
    memory = Memory(bundle, threads=threads, max_gap_ns=10 * bundle.spec.period_ns)
    actor = Actor(bundle, threads=threads, replan_every_ticks=1)
    generator = np.random.default_rng(0)
    images = {
        camera.name: generator.integers(0, 256, (camera.height, camera.width, 3), dtype=np.uint8) for camera in CAMERAS
    }
    joints = np.zeros(len(JOINTS), np.float32)
    count = 0

    def tick() -> None:
        nonlocal count
        actor.answer(memory.observe(Observation(count * bundle.spec.period_ns, images, joints)))
        count += 1

    for _ in range(length + 3):
        tick()
    return tick


def _interleaved(ticks: list[Callable[[], None]], rounds: int) -> list[list[float]]:
    """Each round runs every context once, so that a busy moment of the machine hits all alike."""
    durations_ms: list[list[float]] = [[] for _ in ticks]
    for _ in tqdm(range(rounds), desc="measuring"):
        for row, tick in zip(durations_ms, ticks, strict=True):
            start_s = time.perf_counter()
            tick()
            row.append(1e3 * (time.perf_counter() - start_s))
    return durations_ms


def _plot(durations_ms: list[list[float]], file: Path) -> None:
    low, middle, high = np.percentile(np.array(durations_ms), (10, 50, 90), axis=1)
    figure, axis = plt.subplots(figsize=(7, 4), constrained_layout=True)
    axis.fill_between(CONTEXTS, low, high, alpha=0.25, label="10th to 90th percentile")
    axis.plot(CONTEXTS, middle, marker="o", label="median")
    axis.set_xscale("log", base=2)
    axis.set_xticks(CONTEXTS, [str(length) for length in CONTEXTS])
    axis.set_ylim(bottom=0)
    axis.set_xlabel("context length [ticks]")
    axis.set_ylabel("one tick [ms]")
    axis.set_title("Newest frames in, action chunk out")
    axis.legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_context.py",
        description="Median cost of an inference tick at context lengths 2 to 256, interleaved.",
        epilog="example: python benchmarks/bench_context.py --json context.json",
    )
    parser.add_argument("--rounds", type=int, default=100, help="ticks per context length (default 100)")
    parser.add_argument("--threads", type=int, default=1, help="threads per network (default 1)")
    parser.add_argument("--json", type=Path, help="write the figures here, and a plot beside it")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
