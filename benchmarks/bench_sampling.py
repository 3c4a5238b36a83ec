"""What fewer denoising steps cost: ``python benchmarks/bench_sampling.py runs/train/reach_cued --json sampling.json``.

Each run is exported with each of its numbers of DDIM steps; every bundle runs the same episodes, and is compared with the first run at
the most of its steps, episode by episode. With a student beside its teacher, ``TEACHER:1,2,3,10 STUDENT:1,2,3``, each of the student's
is also compared with the teacher at as many steps: a teacher that predicts the clean chunk may need no student. The time is that of a
whole sample of one chunk, on one thread.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from machine import describe_machine
from policy_server.export.writing import write_bundle
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.command import run_command
from same_episodes import add_episode_options, run_episodes, sample_times_ms
from sampled_runs import Entry, read_entries
from sim_bridge.intervals import Rate, success_rate
from sim_bridge.study.statistics import Difference, paired_difference


@dataclass(frozen=True)
class Measured:
    """Outcome of every episode (int8, 0 or 1, in the order of the seeds) and median ms per sample."""

    entry: Entry
    outcomes: NDArray[np.int8]
    sample_ms: float

    @property
    def rate(self) -> Rate:
        return success_rate(int(self.outcomes.sum()), len(self.outcomes))


def main() -> int:
    arguments = _parse()
    entries = read_entries(arguments.runs, arguments.steps)
    with tempfile.TemporaryDirectory() as folder:
        bundles = [export(entry, Path(folder) / str(number)) for number, entry in enumerate(entries)]
        outcomes = [run_episodes(bundle, arguments, str(entry)) for entry, bundle in zip(entries, bundles, strict=True)]
        times_ms = sample_times_ms(bundles)
    measured = list(map(Measured, entries, outcomes, times_ms))
    rows = [row(each, measured) for each in measured]
    for each, figures in zip(measured, rows, strict=True):
        print(f"{each.entry}: {each.rate}, {each.sample_ms:.2f} ms a sample{_compared(figures)}")
    if arguments.json:
        result = {
            "task": entries[0].checkpoint.spec.task,
            "runs": {str(entry.run): {"checkpoint_step": entry.checkpoint.step} for entry in entries},
            "seed": arguments.seed,
            "compared_with": str(reference_of(measured).entry),
            "rows": rows,
            "machine": describe_machine(),
        }
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"results are in {arguments.json}")
    return 0


def export(entry: Entry, folder: Path) -> Bundle:
    """The run as a bundle that samples in so many steps."""
    write_bundle(entry.policy(), entry.spec(), folder, {})
    return load_bundle(folder)


def reference_of(measured: Sequence[Measured]) -> Measured:
    """The first run at the most of its steps."""
    first = [each for each in measured if each.entry.run == measured[0].entry.run]
    return max(first, key=lambda each: each.entry.steps)


def control_of(each: Measured, measured: Sequence[Measured]) -> Measured | None:
    """The first run at as many steps as ``each``, of another run, or None."""
    first = measured[0].entry.run
    alike = (other for other in measured if other.entry.run == first and other.entry.steps == each.entry.steps)
    return next(alike, None) if each.entry.run != first else None


def row(each: Measured, measured: Sequence[Measured]) -> dict[str, object]:
    """The figures of one entry; a comparison with itself, or with an entry that is not there, is None."""
    reference = reference_of(measured)
    return {
        "run": str(each.entry.run),
        "steps": each.entry.steps,
        **dataclasses.asdict(each.rate),
        "sample_ms": round(each.sample_ms, 3),
        "outcomes": "".join(map(str, each.outcomes)),
        "difference": None if each is reference else compare(each, reference),
        "difference_at_equal_steps": compare(each, control_of(each, measured)),
    }


def compare(each: Measured, other: Measured | None) -> dict[str, object] | None:
    """The paired difference in success, ``each`` minus ``other``, with its 95 % interval and McNemar's p."""
    if other is None:
        return None
    difference: Difference = paired_difference([(each.outcomes[None], other.outcomes[None])])
    return {
        "from": str(other.entry),
        "difference": round(difference.difference, 4),
        "interval": [round(bound, 4) for bound in difference.interval],
        "mcnemar_p": difference.p,
    }


def _compared(figures: dict[str, object]) -> str:
    comparisons = (figures["difference"], figures["difference_at_equal_steps"])
    return "".join(
        f"; {each['difference']:+} from {each['from']} (95 % interval {each['interval']}, p {each['mcnemar_p']:.3g})"
        for each in comparisons
        if isinstance(each, dict)
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_sampling.py",
        description="Success and time per sample of trained policies with few and with many denoising steps, on the same episodes.",
        epilog="example: python benchmarks/bench_sampling.py runs/train/reach_cued --episodes 100 --json sampling.json; a student beside "
        "its teacher: python benchmarks/bench_sampling.py runs/train/press_count:1,2,3,10 runs/train/press_count_student:1,2,3",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN[:STEPS]",
        help="folder of a training run (with checkpoint.pt), and its numbers of steps",
    )
    parser.add_argument("--steps", type=int, nargs="+", help="of runs that name none (default 1 2 3 5 10)")
    add_episode_options(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
