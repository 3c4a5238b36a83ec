"""How near few denoising steps come to many, chunk by chunk: ``python benchmarks/bench_chunks.py TEACHER:1,2,3,10 STUDENT:1,2,3``.

No simulator: at windows of the dataset every policy answers the same context from the same noises. Compared are the future rows, in units
of the first run's scaling (1 is half the range that an action has in the data), with the first run at the most of its steps:

- ``rms``: from its chunk of the same noise.
- ``spread``: of the chunks of one context about their mean. Several good answers make it large; a policy that answers with the mean of
  them has less of it than the reference.
- ``energy``: energy distance (Székely & Rizzo 2013) of the chunks of one context from the reference's of other noises: 0 for the same
  distribution, whichever noise made which chunk. The reference's own figure is the control.

Mean over the windows, and with ``_undecided`` over the tenth of them where the reference's spread is largest: where it has a choice.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from machine import describe_machine
from policy_server.runtime.command import run_command
from policy_server.runtime.errors import ConfigurationError
from policy_server.training.episodes import load_episodes
from policy_server.training.rows import context_rows, read_batch
from policy_server.training.windows import gather_windows, lay_out
from sampled_runs import Entry, read_entries


@dataclass(frozen=True)
class Chunks:
    """``scaled``: float32 (N, M, F), the future rows of M chunks at each of N windows."""

    name: str
    scaled: Tensor


def main() -> int:
    arguments = _parse()
    if arguments.noises < 2 or arguments.windows < 10:
        raise ConfigurationError(f"--noises {arguments.noises} --windows {arguments.windows}: give 2 and 10 or more")
    entries = read_entries(arguments.runs, None)
    first = [entry for entry in entries if entry.run == entries[0].run]
    reference_entry = max(first, key=lambda entry: entry.steps)
    scaling = reference_entry.policy().scaling
    contexts = {entry.run: read_contexts(entry, arguments.windows) for entry in entries}
    noise = draw_noise(reference_entry, arguments.noises, seed=arguments.seed)
    answers = [
        Chunks(str(entry), sample(entry, contexts[entry.run], noise, scaling.action_half_range))
        for entry in tqdm(entries, desc="sampling", unit="policy")
    ]
    reference = answers[entries.index(reference_entry)]
    other_noise = draw_noise(reference_entry, arguments.noises, seed=arguments.seed + 1)
    again = sample(reference_entry, contexts[reference_entry.run], other_noise, scaling.action_half_range)
    rows = [compare(each, reference, again) for each in answers]
    for row in rows:
        print(
            "  ".join(f"{value:.4f} {name}" if isinstance(value, float) else f"{value}:" for name, value in row.items())
        )
    if arguments.json:
        settings = {"windows": arguments.windows, "noises": arguments.noises, "seed": arguments.seed}
        result = {"compared_with": reference.name, **settings, "rows": rows, "machine": describe_machine()}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"results are in {arguments.json}")
    return 0


def read_contexts(entry: Entry, windows: int) -> Tensor:
    """Contexts (N, T, D) of so many ticks, evenly over the run's dataset, encoded by the run's own encoder."""
    config, spec = entry.checkpoint.config, entry.checkpoint.spec
    episodes = load_episodes(config.dataset, spec, limit=config.episodes)
    ticks = np.linspace(0, len(episodes.stamps_ns) - 1, windows).astype(np.int64)
    learned = np.ones(spec.action.horizon, np.float32)
    batch = read_batch(episodes, gather_windows(episodes, lay_out(episodes, spec), spec, ticks), learned)
    with torch.no_grad():
        return context_rows(batch, entry.policy().encode(batch.images) if batch.images else None)


def draw_noise(entry: Entry, noises: int, seed: int) -> Tensor:
    """Noise (M, H, A)."""
    action = entry.checkpoint.spec.action
    return torch.randn(noises, action.horizon, len(action.joints), generator=torch.Generator().manual_seed(seed))


def sample(entry: Entry, contexts: Tensor, noise: Tensor, half_range: Tensor) -> Tensor:
    """The future rows (N, M, F) that the policy answers each context with, one chunk per noise, divided by ``half_range`` (H, A)."""
    policy, past = entry.policy(), entry.checkpoint.spec.action.past_steps
    with torch.no_grad():
        chunks = torch.stack([policy.sample(context[None], noise) for context in contexts])
    return (chunks / half_range)[:, :, past:].flatten(2)


def compare(each: Chunks, reference: Chunks, again: Tensor) -> dict[str, str | float]:
    """The figures of the module's description; ``again``: the reference's chunks of other noises, (N, M, F)."""
    spread_of_reference = spread(reference.scaled)
    undecided = spread_of_reference >= spread_of_reference.quantile(0.9)
    figures = {
        "rms": (each.scaled - reference.scaled).square().mean((1, 2)).sqrt(),
        "spread": spread(each.scaled),
        "energy": energy_distance(each.scaled, again),
    }
    row: dict[str, str | float] = {"policy": each.name}
    for name, value in figures.items():
        row |= {name: float(value.mean()), f"{name}_undecided": float(value[undecided].mean())}
    return row


def spread(chunks: Tensor) -> Tensor:
    """Root mean square distance (N,) of the chunks (N, M, F) of a context from their mean."""
    return (chunks - chunks.mean(1, keepdim=True)).square().mean((1, 2)).sqrt()


def energy_distance(a: Tensor, b: Tensor) -> Tensor:
    """Unbiased estimate (N,) of 2 E|A - B| - E|A - A'| - E|B - B'| from chunks (N, M, F) each; it may fall below 0."""

    def within(x: Tensor) -> Tensor:
        count = x.shape[1]
        return torch.cdist(x, x).sum((1, 2)) / (count * (count - 1))

    return 2 * torch.cdist(a, b).mean((1, 2)) - within(a) - within(b)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_chunks.py",
        description="How near the chunks of few denoising steps come to those of many, at windows of the dataset; no simulator.",
        epilog="example: python benchmarks/bench_chunks.py runs/train/press_count:1,2,3,10 runs/train/press_count_student:1,2,3",
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN[:STEPS]", help="folder of a training run, and its numbers of steps"
    )
    parser.add_argument("--windows", type=int, default=100, help="of the dataset (default 100)")
    parser.add_argument("--noises", type=int, default=32, help="chunks per window (default 32)")
    parser.add_argument("--seed", type=int, default=0, help="of the noises (default 0)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
