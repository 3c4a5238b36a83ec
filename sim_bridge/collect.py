"""Collect demonstrations: ``python -m sim_bridge.collect --task reach_cued --episodes 1000``."""

import argparse
import dataclasses
import multiprocessing
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from policy_server.runtime.command import run_command
from policy_server.runtime.configuration import to_plain
from policy_server.runtime.recording import (
    DATASET_SCHEMA,
    CameraShape,
    DatasetInfo,
    create_dataset,
    list_episodes,
    write_episode,
)
from policy_server.runtime.resources import resource
from ros_nodes.franka.settings import load_guard_settings
from sim_bridge.arm import GuardedArm
from sim_bridge.demonstration import DemonstrationConfig, demonstrate
from sim_bridge.fr3 import COMMAND_JOINTS
from sim_bridge.shift import add_shift_option
from sim_bridge.task_config import TaskConfig, load_task_config
from sim_bridge.tasks.registry import task_by_name
from sim_bridge.world import World

NOISE_RAD = {"stable": DemonstrationConfig.noise_rad, "unstable": DemonstrationConfig.noise_rad / 2}
"""By the task's local stability."""


@dataclass(frozen=True)
class CollectConfig:
    """A collection: ``episodes`` demonstrations of seeds from ``seed`` on, of which the successful ones are kept.

    Features are always recorded, ``images`` of the task's cameras only when they are asked for. ``shift``: name of one, or empty.
    """

    task: str
    output: Path
    episodes: int
    seed: int
    workers: int
    demonstration: DemonstrationConfig
    images: bool = True
    shift: str = ""


def task_config(config: CollectConfig) -> TaskConfig:
    """The task with the cameras that this collection records."""
    task = load_task_config(config.task, shift=config.shift)
    return task if config.images else dataclasses.replace(task, cameras=())


def collect(config: CollectConfig) -> int:
    """Write what is missing of the collection; returns the number of failed demonstrations, which are not kept."""
    create_dataset(config.output, dataset_info(task_config(config)))
    have = set(list_episodes(config.output))
    seeds = [seed for seed in range(config.seed, config.seed + config.episodes) if episode_name(seed) not in have]
    failed = 0
    with tqdm(total=config.episodes, initial=config.episodes - len(seeds), desc=config.task, unit="episode") as bar:
        for success in _run(config, seeds):
            failed += not success
            bar.set_postfix(failed=failed, refresh=False)
            bar.update()
    return failed


def episode_name(seed: int) -> str:
    return f"episode_{seed:07d}"


def dataset_info(task: TaskConfig) -> DatasetInfo:
    cameras = tuple(CameraShape(camera.name, camera.height, camera.width) for camera in task.cameras)
    names = task_by_name(task.task).feature_names
    shift = to_plain(task.shift) if task.shift.name else {}
    return DatasetInfo(DATASET_SCHEMA, task.task, task.rate_hz, cameras, COMMAND_JOINTS, COMMAND_JOINTS, names, shift)


def _run(config: CollectConfig, seeds: list[int]) -> Iterator[bool]:
    if config.workers == 1:
        worker = _Worker(config)
        yield from map(worker.collect, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(config.workers, _start_worker, (config,)) as pool:
        yield from pool.imap_unordered(_collect_one, seeds)


class _Worker:
    """A process's own world and guarded arm."""

    def __init__(self, config: CollectConfig) -> None:
        self._config = config
        self._task = task_config(config)
        self._world = World(self._task.new_task(), self._task.cameras)
        self._arm = GuardedArm(load_guard_settings(resource("config/arm.yaml")))

    def collect(self, seed: int) -> bool:
        result = demonstrate(self._world, self._arm, self._task, seed, self._config.demonstration)
        if result.outcome.success:
            write_episode(
                self._config.output,
                episode_name(seed),
                result.arrays,
                seed=seed,
                success=True,
                reason=result.outcome.reason,
            )
        return result.outcome.success


_worker: _Worker | None = None


def _start_worker(config: CollectConfig) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool
    _worker = _Worker(config)


def _collect_one(seed: int) -> bool:
    assert _worker is not None
    return _worker.collect(seed)


def main() -> int:
    arguments = _parse()
    output = arguments.output or Path("data") / default_name(arguments.task, arguments.shift, arguments.images)
    config = CollectConfig(
        arguments.task,
        output,
        arguments.episodes,
        arguments.seed,
        arguments.workers,
        DemonstrationConfig(_noise_rad(arguments)),
        arguments.images,
        arguments.shift,
    )
    failed = collect(config)
    what = f"{arguments.task}, {arguments.shift}," if arguments.shift else arguments.task
    print(
        f"{len(list_episodes(output))} demonstrations of {what} are in {output} ({failed} failed now and were not kept)"
    )
    return 0


def default_name(task: str, shift: str, images: bool) -> str:
    """Name of a dataset's folder."""
    return "_".join(part for part in (task, shift, "" if images else "features") if part)


def _noise_rad(arguments: argparse.Namespace) -> float:
    if arguments.noise_rad is not None:
        return float(arguments.noise_rad)
    return NOISE_RAD[task_by_name(arguments.task).local_stability]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sim_bridge.collect",
        description="Record demonstrations of a task's scripted expert. Started again, it writes only what is missing.",
        epilog="example: python -m sim_bridge.collect --task reach_cued --episodes 1000 --workers 2",
    )
    parser.add_argument("--task", required=True, help="task name, as in config/tasks")
    parser.add_argument("--episodes", type=int, default=500, help="demonstrations, one per seed (default 500)")
    parser.add_argument("--seed", type=int, default=1_000_000, help="first seed; evaluation seeds lie below 1000000")
    parser.add_argument(
        "--output",
        type=Path,
        help="dataset folder (default data/<task>, with a shift data/<task>_<shift>, without images data/<task>_features)",
    )
    add_shift_option(parser)
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument(
        "--noise-rad",
        type=float,
        help="largest noise on executed targets, rad (default 0.02; 0.01 where small errors grow, since half of the noisy "
        "demonstrations would fail)",
    )
    parser.add_argument(
        "--no-images",
        dest="images",
        action="store_false",
        help="record joints, features and actions alone: small and without OpenGL, for policies that see features",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
