"""Success and time of bundles of one task, on the same episodes: ``python benchmarks/bench_bundles.py FIRST OTHER --json out.json``.

Every bundle runs the same seeds in lockstep and is compared with the first one, episode by episode. The time is that of a whole sample of
one chunk on one thread, interleaved.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from machine import describe_machine
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.command import run_command
from policy_server.runtime.errors import ConfigurationError
from same_episodes import add_episode_options, run_episodes, sample_times_ms
from sim_bridge.intervals import success_rate
from sim_bridge.study.statistics import paired_difference


def main() -> int:
    arguments = _parse()
    bundles = [load_bundle(folder) for folder in arguments.bundles]
    tasks = sorted({bundle.spec.task for bundle in bundles})
    if len(tasks) > 1:
        raise ConfigurationError(f"bundles of {' and '.join(tasks)}: give bundles of one task, for the same episodes")
    times_ms = sample_times_ms(bundles)
    outcomes = [run_episodes(bundle, arguments, bundle.path.name) for bundle in bundles]
    rows = [
        row(bundle, outcome, outcomes[0], ms) for bundle, outcome, ms in zip(bundles, outcomes, times_ms, strict=True)
    ]
    for each in rows:
        is_compared = each["difference"] is not None
        compared = f"; difference {each['difference']:+.3f} {each['difference_interval']}" if is_compared else ""
        print(f"{each['bundle']}: {each['successes']} of {each['episodes']}, {each['sample_ms']} ms a sample{compared}")
    if arguments.json:
        result = {"task": tasks[0], "seed": arguments.seed, "rows": rows, "machine": describe_machine()}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"results are in {arguments.json}")
    return 0


def row(bundle: Bundle, outcomes: NDArray[np.int8], reference: NDArray[np.int8], sample_ms: float) -> dict[str, Any]:
    """The figures of one bundle; those of the comparison are None for the reference itself."""
    difference = None if outcomes is reference else paired_difference([(outcomes[None], reference[None])])
    return {
        "bundle": bundle.path.name,
        "precision": bundle.manifest.precision,
        "sampling_steps": bundle.spec.sampler.steps,
        **dataclasses.asdict(success_rate(int(outcomes.sum()), len(outcomes))),
        "sample_ms": round(sample_ms, 3),
        "outcomes": "".join(map(str, outcomes)),
        "difference": difference and round(difference.difference, 4),
        "difference_interval": difference and [round(bound, 4) for bound in difference.interval],
        "mcnemar_p": difference and difference.p,
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_bundles.py",
        description="Success and time per sample of several bundles of one task, on the same episodes.",
        epilog="example: python benchmarks/bench_bundles.py runs/bundles/press_count runs/bundles/press_count_int8 --json out.json",
    )
    parser.add_argument("bundles", type=Path, nargs="+", help="folders; the others are compared with the first")
    add_episode_options(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
