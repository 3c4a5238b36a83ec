"""What self-verification costs: ``python benchmarks/bench_candidates.py --json candidates.json``.

One sample of N candidate chunks of one context, as ``inference_node`` draws them, and the choice among them.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from machine import describe_machine
from policy_server.runtime.actor import Actor
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.command import run_command
from policy_server.runtime.history import Context
from policy_server.runtime.resources import resource

CANDIDATES = (1, 4, 10, 16)


def main() -> int:
    arguments = _parse()
    bundle = load_bundle(arguments.bundle or resource("bundles/reach_cued"))
    ticks = [_tick_of(bundle, candidates, arguments.threads) for candidates in CANDIDATES]
    durations_ms: list[list[float]] = [[] for _ in ticks]
    for _ in tqdm(range(arguments.rounds), desc="measuring"):
        # Each round runs every number once, so that a busy moment of the machine hits all alike.
        for row, tick in zip(durations_ms, ticks, strict=True):
            start_s = time.perf_counter()
            tick()
            row.append(1e3 * (time.perf_counter() - start_s))
    medians_ms = [statistics.median(row) for row in durations_ms]
    for candidates, value in zip(CANDIDATES, medians_ms, strict=True):
        print(f"{candidates:>3} candidates: {value:7.2f} ms, {value / medians_ms[0]:5.2f} x one")
    if arguments.json:
        result = {
            "bundle": str(bundle.path),
            "candidates": list(CANDIDATES),
            "sample_ms": [round(value, 3) for value in medians_ms],
            "ratio_10_over_1": round(medians_ms[CANDIDATES.index(10)] / medians_ms[0], 3),
            "rounds": arguments.rounds,
            "threads": arguments.threads,
            "machine": describe_machine(),
        }
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"results are in {arguments.json}")
    return 0


def _tick_of(bundle: Bundle, candidates: int, threads: int) -> Callable[[], None]:
    """One answer to a context, sampled afresh, with a full record of executed actions."""
    spec = bundle.spec
    actor = Actor(bundle, threads=threads, replan_every_ticks=1, candidates=candidates)
    rows = np.random.default_rng(0).standard_normal((spec.history.length, spec.row_width)).astype(np.float32)
    count = 0

    def tick() -> None:
        nonlocal count
        actor.answer(Context(count * spec.period_ns, rows))
        count += 1

    for _ in range(spec.action.past_steps + 1):
        tick()
    return tick


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_candidates.py",
        description="Median cost of a sample of 1, 4, 10 and 16 candidate chunks, interleaved.",
        epilog="example: python benchmarks/bench_candidates.py --json candidates.json",
    )
    parser.add_argument("--bundle", type=Path, help="folder of the bundle (default: the one that ships for reach_cued)")
    parser.add_argument("--rounds", type=int, default=100, help="samples per number of candidates (default 100)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the denoiser (default 1)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
