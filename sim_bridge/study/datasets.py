"""Sees to it that a dataset has the demonstrations that the cells will ask for, by the ordinary collecting command."""

import fcntl
import math
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from policy_server.runtime.child import Child
from policy_server.runtime.errors import DatasetError
from policy_server.runtime.recording import list_episodes
from sim_bridge.study.cells import Cell
from sim_bridge.study.configuration import CollectionConfig

_ATTEMPTS = 5
_TELLING_SEEDS = 10  # with fewer, a good expert may fail on all of them
_POLL_S = 0.1
_SHIFTED_SEED = 2_000_000
_SEEDS_PER_DATASET = 1_000


@dataclass(frozen=True)
class Source:
    """A dataset and what is shown in it; ``first_seed`` None: where collecting begins by itself."""

    task: str
    dataset: Path
    shift: str = ""
    first_seed: int | None = None


def source_of(cell: Cell, root: Path) -> Source:
    """Where a cell's demonstrations come from. Of a shifted task each training seed has worlds of its own."""
    dataset = root / cell.dataset
    if not cell.shift.name:
        return Source(cell.task, dataset)
    return Source(cell.task, dataset, cell.shift.name, _SHIFTED_SEED + _SEEDS_PER_DATASET * cell.seed)


def missing_demonstrations(cells: Iterable[Cell], root: Path) -> dict[Source, int]:
    """Source → how many demonstrations it must have, for those that have fewer."""
    needed: dict[Source, int] = {}
    for cell in cells:
        if cell.is_trained:
            source = source_of(cell, root)
            needed[source] = max(needed.get(source, 0), cell.demonstrations)
    return {source: count for source, count in needed.items() if count_of(source.dataset) < count}


def count_of(dataset: Path) -> int:
    """How many whole demonstrations there are."""
    return len(list_episodes(dataset)) if dataset.is_dir() else 0


def collect(source: Source, count: int, config: CollectionConfig, workers: int, root: Path) -> None:
    """Collect until there are ``count`` demonstrations; those that fail are not kept, so it takes more seeds than that.

    Another process that collects the same dataset is waited for. The command's progress bar goes to this process' terminal.

    Raises:
        DatasetError: the command failed, or so do all demonstrations, or far too many.
    """
    dataset = source.dataset
    dataset.parent.mkdir(parents=True, exist_ok=True)
    with dataset.with_name(f".{dataset.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if count_of(dataset) >= count:
            return
        # A shifted source has so many; beyond them begin the worlds of another training seed.
        limit = sys.maxsize if source.first_seed is None else _SEEDS_PER_DATASET
        seeds, wanted = 0, count
        for _ in range(_ATTEMPTS):
            seeds = min(wanted, limit)
            _run(source, seeds, config, workers, root)
            have = count_of(dataset)
            if have >= count:
                return
            if seeds == limit or (not have and seeds >= _TELLING_SEEDS):
                break
            wanted = _seeds_for(count, have, seeds)
        raise DatasetError(
            f"'{dataset}' has {count_of(dataset)} of {count} demonstrations after {seeds} seeds: "
            f"look at the expert with {_check_of(source)}"
        )


def _seeds_for(count: int, have: int, seeds: int) -> int:
    """How many seeds give ``count`` demonstrations, when ``seeds`` of them gave ``have``."""
    return math.ceil(count * seeds / have) if have else _TELLING_SEEDS


def _check_of(source: Source) -> str:
    command = f"python -m sim_bridge.check_experts --task {source.task}"
    if source.shift:
        command += f" --shift {source.shift}"
    return command if source.first_seed is None else f"{command} --seed {source.first_seed}"


def _run(source: Source, seeds: int, config: CollectionConfig, workers: int, root: Path) -> None:
    command = [sys.executable, "-m", "sim_bridge.collect", "--task", source.task, "--episodes", str(seeds)]
    command += ["--output", str(source.dataset), "--workers", str(workers)]
    if source.shift:
        command += ["--shift", source.shift]
    if source.first_seed is not None:
        command += ["--seed", str(source.first_seed)]
    if not config.images:
        command.append("--no-images")
    if config.noise_rad is not None:
        command += ["--noise-rad", str(config.noise_rad)]
    child = Child(command, None, root, os.environ)
    try:
        while (status := child.status) is None:
            time.sleep(_POLL_S)
    finally:
        child.interrupt()
        child.end()
    if status:
        raise DatasetError(
            f"collecting {source.task} into '{source.dataset}' ended with status {status}: its error is above"
        )
