"""What fewer denoising steps cost: ``python benchmarks/bench_sampling.py runs/train/reach_cued --json sampling.json``.

One trained run is exported with each number of DDIM steps; every bundle runs the same episodes, and is compared with the one of the
most steps episode by episode. The time is that of a whole sample of one chunk, on one thread.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from machine import describe_machine
from policy_server.export.writing import write_bundle
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.command import run_command
from policy_server.runtime.engine import Denoiser
from policy_server.runtime.errors import ConfigurationError
from policy_server.training.checkpoint import Checkpoint, choose_checkpoint
from sim_bridge.episode import EngineConfig
from sim_bridge.evaluate import EvaluateConfig, evaluate
from sim_bridge.intervals import Rate, success_rate
from sim_bridge.study.statistics import Difference, paired_difference

STEPS = (1, 2, 3, 5, 10)
_SAMPLES = 50


@dataclass(frozen=True)
class Measured:
    """A number of steps: outcome of every episode (int8, 0 or 1, in the order of the seeds) and median ms per sample."""

    steps: int
    outcomes: NDArray[np.int8]
    sample_ms: float

    @property
    def rate(self) -> Rate:
        return success_rate(int(self.outcomes.sum()), len(self.outcomes))


def main() -> int:
    arguments = _parse()
    checkpoint = choose_checkpoint(arguments.run)
    steps = sorted(set(arguments.steps))
    most = checkpoint.spec.sampler.training_steps
    if not 1 <= steps[0] <= steps[-1] <= most:
        raise ConfigurationError(f"--steps {steps}: the policy was trained with {most} steps; give 1 to {most}")
    with tempfile.TemporaryDirectory() as folder:
        bundles = [export(checkpoint, Path(folder) / str(count), count) for count in steps]
        outcomes = [run_episodes(bundle, arguments) for bundle in bundles]
        times_ms = sample_times_ms(bundles)
    measured = list(map(Measured, steps, outcomes, times_ms))
    rows = [row(each, measured[-1]) for each in measured]
    for each, figures in zip(measured, rows, strict=True):
        print(f"{each.steps:>3} steps: {each.rate}, {each.sample_ms:.2f} ms a sample{_compared(figures)}")
    if arguments.json:
        result = {
            "run": str(arguments.run),
            "task": checkpoint.spec.task,
            "checkpoint_step": checkpoint.step,
            "seed": arguments.seed,
            "compared_with_steps": steps[-1],
            "rows": rows,
            "machine": describe_machine(),
        }
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"results are in {arguments.json}")
    return 0


def export(checkpoint: Checkpoint, folder: Path, steps: int) -> Bundle:
    """The run as a bundle that samples in so many steps."""
    spec = dataclasses.replace(checkpoint.spec, sampler=dataclasses.replace(checkpoint.spec.sampler, steps=steps))
    policy = DiffusionPolicy(spec, checkpoint.config.model)
    policy.load_state_dict(checkpoint.average)
    write_bundle(policy, spec, folder, {})
    return load_bundle(folder)


def run_episodes(bundle: Bundle, arguments: argparse.Namespace) -> NDArray[np.int8]:
    """Outcome of every episode, 0 or 1."""
    spec = bundle.spec
    config = EvaluateConfig(
        bundle.path, spec.task, arguments.episodes, arguments.seed, arguments.workers, EngineConfig()
    )
    episodes = tqdm(evaluate(config), desc=f"{spec.sampler.steps} steps", unit="episode", total=config.episodes)
    return np.array([episode.success for episode in episodes], np.int8)


def sample_times_ms(bundles: list[Bundle]) -> list[float]:
    """Median time of a sample of one chunk in ms, of every bundle; interleaved, so that a busy moment hits all alike."""
    generator = np.random.default_rng(0)
    spec, denoisers = bundles[0].spec, [Denoiser(bundle) for bundle in bundles]
    context = generator.standard_normal((spec.history.length, spec.row_width)).astype(np.float32)
    noise = generator.standard_normal(denoisers[0].chunk_shape).astype(np.float32)
    times_ms: list[list[float]] = [[] for _ in denoisers]
    for _ in range(_SAMPLES):
        for denoiser, row_ms in zip(denoisers, times_ms, strict=True):
            begun_s = time.perf_counter()
            denoiser.sample(context, noise)
            row_ms.append(1e3 * (time.perf_counter() - begun_s))
    return [statistics.median(row_ms) for row_ms in times_ms]


def row(measured: Measured, reference: Measured) -> dict[str, object]:
    """The figures of one number of steps; those of the comparison are None for the reference itself."""
    difference: Difference | None = None
    if measured is not reference:
        difference = paired_difference([(measured.outcomes[None], reference.outcomes[None])])
    return {
        "steps": measured.steps,
        **dataclasses.asdict(measured.rate),
        "sample_ms": round(measured.sample_ms, 3),
        "outcomes": "".join(map(str, measured.outcomes)),
        "difference": difference and round(difference.difference, 4),
        "difference_interval": difference and [round(bound, 4) for bound in difference.interval],
        "mcnemar_p": difference and difference.p,
    }


def _compared(figures: dict[str, object]) -> str:
    if figures["difference"] is None:
        return ""
    return f"; difference {figures['difference']}, 95 % interval {figures['difference_interval']}, p {figures['mcnemar_p']:.3g}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_sampling.py",
        description="Success and time per sample of one trained policy with few and with many denoising steps, on the same episodes.",
        epilog="example: python benchmarks/bench_sampling.py runs/train/reach_cued --episodes 100 --json sampling.json",
    )
    parser.add_argument("run", type=Path, help="folder of the training run (with checkpoint.pt)")
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS), help="default 1 2 3 5 10")
    parser.add_argument("--episodes", type=int, default=100, help="per number of steps (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the first episode (default 0)")
    parser.add_argument("--workers", type=int, default=1, help="processes; results do not depend on it (default 1)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
