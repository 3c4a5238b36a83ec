"""Sees to it that a dataset has the demonstrations that the cells will ask for, by the ordinary collecting command."""

import fcntl
import math
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from policy_server.runtime.child import Child
from policy_server.runtime.errors import DatasetError
from policy_server.runtime.recording import list_episodes
from sim_bridge.study.cells import Cell
from sim_bridge.study.configuration import CollectionConfig

_ATTEMPTS = 5
_POLL_S = 0.1


def missing_demonstrations(cells: Iterable[Cell], root: Path) -> dict[tuple[str, Path], int]:
    """(task, dataset) → how many demonstrations it must have, for those that have fewer."""
    needed: dict[tuple[str, Path], int] = {}
    for cell in cells:
        key = (cell.task, root / cell.training["dataset"])
        needed[key] = max(needed.get(key, 0), cell.demonstrations)
    return {(task, dataset): count for (task, dataset), count in needed.items() if count_of(dataset) < count}


def count_of(dataset: Path) -> int:
    """How many whole demonstrations there are."""
    return len(list_episodes(dataset)) if dataset.is_dir() else 0


def collect(task: str, dataset: Path, count: int, config: CollectionConfig, workers: int, root: Path) -> None:
    """Collect until there are ``count`` demonstrations; those that fail are not kept, so it takes more seeds than that.

    Another process that collects the same dataset is waited for. The command's progress bar goes to this process' terminal.

    Raises:
        DatasetError: the command failed, or far too many demonstrations do.
    """
    dataset.parent.mkdir(parents=True, exist_ok=True)
    with dataset.with_name(f".{dataset.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        seeds = count
        for _ in range(_ATTEMPTS):
            have = count_of(dataset)
            if have >= count:
                return
            _run(task, dataset, seeds, config, workers, root)
            have = max(1, count_of(dataset))
            seeds += math.ceil((count - have) * seeds / have)
        raise DatasetError(
            f"'{dataset}' has {count_of(dataset)} of {count} demonstrations after {_ATTEMPTS} rounds: "
            f"look at the expert with python -m sim_bridge.check_experts --task {task}"
        )


def _run(task: str, dataset: Path, seeds: int, config: CollectionConfig, workers: int, root: Path) -> None:
    command = [sys.executable, "-m", "sim_bridge.collect", "--task", task, "--episodes", str(seeds)]
    command += ["--output", str(dataset), "--workers", str(workers)]
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
        raise DatasetError(f"collecting {task} into '{dataset}' ended with status {status}: its error is above")
