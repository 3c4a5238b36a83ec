"""What an optimizer step alone takes: all contestants of a policy in turns, on the networks and gradients of their trained runs."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from policy_server.comparison.run import stepping_in_place
from policy_server.comparison.runs import Run
from policy_server.runtime.recording import read_dataset_info
from policy_server.runtime.whole_file import write_whole
from policy_server.sweep.jobs import fingerprint
from policy_server.training.configuration import policy_spec
from policy_server.training.episodes import load_episodes

TIMES_FILE = "step_times.json"


def step_times_s(runs: Sequence[Run], rounds: int, output: Path) -> dict[str, float]:
    """Contestant → median seconds of a step, for one policy's runs of one seed; measured once and kept in ``output``."""
    file = output / TIMES_FILE
    key = fingerprint([rounds, [run.job.fingerprint for run in runs]])
    known: dict[str, dict[str, float]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if key not in known:
        known[key] = _measure(runs, rounds)
        write_whole(file, json.dumps(known, indent=1) + "\n")
    return known[key]


def interleaved_s(steps: dict[str, Callable[[], None]], rounds: int, what: str) -> dict[str, float]:
    """Median seconds of each; every round takes one step of each, so that a busy moment of the machine hits all alike."""
    durations_s: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in tqdm(range(rounds), desc=f"timing optimizer steps of {what}", leave=False):
        for name, step in steps.items():
            start_s = time.perf_counter()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            durations_s[name].append(time.perf_counter() - start_s)
    return {name: statistics.median(values) for name, values in durations_s.items()}


def _measure(runs: Sequence[Run], rounds: int) -> dict[str, float]:
    first = runs[0].training
    threads = torch.get_num_threads()
    torch.set_num_threads(first.threads or threads)
    try:
        spec = policy_spec(first, read_dataset_info(first.dataset))
        episodes = load_episodes(first.dataset, spec, limit=first.episodes)
        optimizers = {run.contestant: stepping_in_place(run.training, episodes).optimizer for run in runs}
        steps: dict[str, Callable[[], None]] = {name: each.step for name, each in optimizers.items()}
        return interleaved_s(steps, rounds, runs[0].policy)
    finally:
        torch.set_num_threads(threads)
