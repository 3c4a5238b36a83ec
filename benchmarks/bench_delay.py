"""What a slow sampler costs: ``python benchmarks/bench_delay.py bundles/press_count --json delay.json``.

The same episodes with a delay injected between an observation and the chunk that answers it, in simulated time, for three ways to execute
chunks meanwhile (docs/asynchronous.md). Success is compared in pairs with the same schedule without delay; smoothness is the peak jerk at
the seams between chunks against that inside them. Run again with the same options, it goes on where it was stopped.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from machine import describe_machine
from policy_server.runtime.actor import schedule_of
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.command import run_command
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.whole_file import write_whole
from sim_bridge.asynchronous import EXECUTIONS, AsynchronousConfig, Execution
from sim_bridge.episode import EngineConfig, EpisodeResult
from sim_bridge.evaluate import EvaluateConfig, evaluate
from sim_bridge.intervals import success_rate
from sim_bridge.smoothness import SeamJerk, Smoothness, median_interval
from sim_bridge.study.statistics import paired_difference

DELAYS_MS = (0, 100, 200, 300, 500)
REPLAN_EVERY_TICKS = 4
"""So that two of the four kinks that a chunk brings are at its seam and two inside it: peaks of as many compare."""


@dataclass(frozen=True)
class Cell:
    """One delay and one execution; ``own``: at the bundle's own schedule, without delay."""

    delay_ms: int
    execution: Execution
    own: bool = False

    @property
    def name(self) -> str:
        return "as the bundle says" if self.own else f"{self.delay_ms} ms, {self.execution}"


OWN = Cell(0, "latest", own=True)
ZERO = Cell(0, "latest")


def main() -> int:
    arguments = _parse()
    bundle = load_bundle(arguments.bundle)
    settings = _settings(bundle, arguments)
    cells = [OWN, ZERO]
    cells += [cell for delay in sorted(set(arguments.delays_ms)) for execution in EXECUTIONS
              if (cell := Cell(delay, execution)) != ZERO]  # fmt: skip
    rows = _rows_so_far(arguments.json, settings)
    with tqdm(total=len(cells) * arguments.episodes, unit="episode", smoothing=0.05) as bar:
        for cell in cells:
            bar.set_description(cell.name)
            if cell.name in rows:
                bar.update(arguments.episodes)
                continue
            results = []
            for result in evaluate(_evaluation(bundle, arguments, cell)):
                results.append(result)
                bar.update()
            rows[cell.name] = _row(cell, results)
            _write(arguments.json, settings, rows)
    _write(arguments.json, settings, _compared(rows))
    picture = arguments.json.with_suffix(".png")
    _plot(list(rows.values()), picture)
    _print(list(_compared(rows).values()))
    print(f"files: {arguments.json}, {picture}")
    return 0


def _settings(bundle: Bundle, arguments: argparse.Namespace) -> dict[str, Any]:
    """All that the figures depend on."""
    return {
        "bundle": str(arguments.bundle),
        "bundle_hash": bundle.hash,
        "task": bundle.spec.task,
        "episodes": arguments.episodes,
        "seed": arguments.seed,
        "warm_start": arguments.warm_start,
        "replan_every_ticks": schedule_of(bundle.spec, arguments.replan_every_ticks, None).replan_every_ticks,
        "replan_every_ticks_of_the_bundle": bundle.spec.action.replan_every_ticks,
        "sampling_steps": bundle.spec.sampler.steps,
        "future_steps": bundle.spec.action.future_steps,
    }


def _evaluation(bundle: Bundle, arguments: argparse.Namespace, cell: Cell) -> EvaluateConfig:
    late = AsynchronousConfig(cell.execution, cell.delay_ms, 0 if cell.own else arguments.warm_start)
    engine = EngineConfig(replan_every_ticks=None if cell.own else arguments.replan_every_ticks, asynchronous=late)
    return EvaluateConfig(
        arguments.bundle, bundle.spec.task, arguments.episodes, arguments.seed, arguments.workers, engine
    )


def _row(cell: Cell, results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """The figures of one cell, without comparisons."""
    motions = [result.smoothness for result in results if result.smoothness is not None]
    return {
        "delay_ms": cell.delay_ms,
        "execution": cell.execution,
        "own_schedule": cell.own,
        **dataclasses.asdict(success_rate(sum(result.success for result in results), len(results))),
        "outcomes": "".join(str(int(result.success)) for result in results),
        "mean_ticks": round(float(np.mean([result.ticks for result in results])), 2),
        "path": _jerk([motion.path for motion in motions]),
        "set_points": _jerk([motion.set_points for motion in motions]),
        "set_points_rms": _jerk([motion.set_points_rms for motion in motions]),
        "smoothness": [_plain(motion) for motion in motions],
    }


def _jerk(peaks: Sequence[SeamJerk]) -> dict[str, Any]:
    """Medians over episodes of the jerk at seams, inside chunks (rad/s³) and of their ratio, with that one's 95 % interval; None
    where no episode has it."""
    ratios = [peak.ratio for peak in peaks if peak.ratio is not None]
    median = [round(value, 3) for value in median_interval(ratios)] if ratios else None
    seam, inside = [peak.seam for peak in peaks if peak.seam], [peak.inside for peak in peaks if peak.inside]
    return {
        "ratio": median[0] if median else None,
        "ratio_interval": median[1:] if median else None,
        "episodes": len(ratios),
        "seam": round(float(np.median(seam)), 1) if seam else None,
        "inside": round(float(np.median(inside)), 1) if inside else None,
    }


def _plain(motion: Smoothness) -> list[float | None]:
    """Path, set-points, and set-points' root mean square, each at seams and inside: rad/s³."""
    jerks = [(jerk.seam, jerk.inside) for jerk in (motion.path, motion.set_points, motion.set_points_rms)]
    return [None if value is None else round(value, 1) for pair in jerks for value in pair]


def _compared(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows with what they are compared with, episode by episode: the same schedule without delay, and the same delay executed
    otherwise."""
    result = {}
    for name, row in rows.items():
        others = {"zero_delay": ZERO, "own_schedule": OWN}
        if row["execution"] == "real_time_chunking":
            others |= {"latest": Cell(row["delay_ms"], "latest"), "blocking": Cell(row["delay_ms"], "blocking")}
        against = {to: _difference(row, rows[other.name]) for to, other in others.items() if other.name in rows}
        result[name] = {**row, "against": against}
    return result


def _difference(row: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    found = paired_difference([(_outcomes(row), _outcomes(reference))])
    return {
        "difference": round(found.difference, 4),
        "interval": [round(bound, 4) for bound in found.interval],
        "mcnemar_p": round(found.p, 4),
    }


def _outcomes(row: dict[str, Any]) -> NDArray[np.int8]:
    return np.array([int(letter) for letter in row["outcomes"]], np.int8)[None]


def _rows_so_far(file: Path, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The cells that an earlier run with the same options has measured.

    Raises:
        ConfigurationError: the file holds those of other options.
    """
    if not file.exists():
        return {}
    content = json.loads(file.read_text(encoding="utf-8"))
    if content.get("settings") != settings:
        old = content.get("settings", {})
        other = [key for key, value in settings.items() if old.get(key) != value]
        raise ConfigurationError(
            f"'{file}' holds figures with another {', '.join(other)}: give another file, or delete this one"
        )
    return {row["name"]: {key: value for key, value in row.items() if key != "name"} for row in content["cells"]}


def _write(file: Path, settings: dict[str, Any], rows: dict[str, dict[str, Any]]) -> None:
    content = {
        "settings": settings,
        "machine": describe_machine(),
        "cells": [{"name": name, **row} for name, row in rows.items()],
    }
    write_whole(file, json.dumps(content, indent=1) + "\n")


def _print(rows: Sequence[dict[str, Any]]) -> None:
    print(
        f"{'delay':>7} {'execution':20} {'success':>9} {'to no delay, points':>24} {'path seam/inside':>20} {'set-points, rms':>16}"
    )
    for row in rows:
        found = row["against"].get("zero_delay")
        low, high = (100 * bound for bound in found["interval"])
        difference = f"{100 * found['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
        path, executed, rms = row["path"], row["set_points"], row["set_points_rms"]
        ratio = (
            f"{path['ratio']:.2f} ({path['ratio_interval'][0]:.2f}-{path['ratio_interval'][1]:.2f})"
            if path["ratio"]
            else "-"
        )
        name = "own schedule" if row["own_schedule"] else row["execution"]
        print(
            f"{row['delay_ms']:>4} ms {name:20} {row['successes']:>4}/{row['episodes']:<4} {difference:>24} {ratio:>20} "
            f"{executed['ratio'] or '-':>9}, {rms['ratio'] or '-'}"
        )


def _plot(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """Success and the ratio of jerk against the delay, one line per execution."""
    figure, (success, jerk) = plt.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
    for shift, execution in enumerate(EXECUTIONS):
        chosen = [row for row in rows if row["execution"] == execution and not row["own_schedule"]]
        _line(
            success, chosen, execution, 4 * (shift - 1),
            [100 * row["successes"] / row["episodes"] for row in chosen],
            [[100 * bound for bound in row["interval"]] for row in chosen],
        )  # fmt: skip
        judged = [row for row in chosen if row["path"]["ratio"] is not None]
        _line(
            jerk, judged, execution, 4 * (shift - 1),
            [row["path"]["ratio"] for row in judged], [row["path"]["ratio_interval"] for row in judged],
        )  # fmt: skip
    success.set(xlabel="delay (ms)", ylabel="success (%)", ylim=(0, 100))
    jerk.set(xlabel="delay (ms)", ylabel="peak jerk of the path, seam / inside")
    jerk.axhline(1.2, color="grey", linestyle=":", linewidth=1)
    success.legend()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _line(
    axis: Any, rows: Sequence[dict[str, Any]], label: str, shift_ms: int, values: list[float], ends: list[list[float]]
) -> None:
    """Values with their intervals, a little beside each other so that none hides another."""
    middle = np.array(values)
    bounds = np.array(ends).reshape(-1, 2)
    at = [row["delay_ms"] + shift_ms for row in rows]
    errors = np.clip(np.stack([middle - bounds[:, 0], bounds[:, 1] - middle]), 0, None)
    axis.errorbar(at, middle, errors, marker="o", capsize=3, label=label)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_delay.py",
        description="Success and smoothness of a bundle under injected delays, for three ways to execute chunks, on the same episodes.",
        epilog="example: python benchmarks/bench_delay.py bundles/press_count --episodes 100 --json delay.json",
    )
    parser.add_argument(
        "bundle", type=Path, help="folder of the bundle; it must take standing plans (exported since they exist)"
    )
    parser.add_argument("--delays-ms", type=int, nargs="+", default=list(DELAYS_MS), help="default 0 100 200 300 500")
    parser.add_argument("--episodes", type=int, default=100, help="per delay and execution (default 100)")
    parser.add_argument("--seed", type=int, default=7000, help="of the first episode (default 7000)")
    parser.add_argument(
        "--replan-every-ticks",
        type=int,
        default=REPLAN_EVERY_TICKS,
        help="least ticks between two samples (default 4, so that a chunk has as many kinks inside as at its seam)",
    )
    parser.add_argument("--warm-start", type=int, default=0, help="sampling steps left out (default 0)")
    parser.add_argument("--workers", type=int, default=1, help="processes; results do not depend on it (default 1)")
    parser.add_argument("--json", type=Path, required=True, help="write the figures here, and the picture beside it")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
