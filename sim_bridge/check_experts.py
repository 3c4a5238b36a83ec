"""Measure the scripted experts: ``python -m sim_bridge.check_experts --task reach_cued --episodes 200``."""

import argparse
import functools
import multiprocessing
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from policy_server.runtime.command import run_command
from policy_server.runtime.errors import ConfigurationError
from sim_bridge.intervals import success_rate
from sim_bridge.set_points import ramp
from sim_bridge.shift import add_shift_option, load_shift, read_shift, shift_names
from sim_bridge.tasks.registry import TASKS, task_by_name
from sim_bridge.tasks.task import Outcome, Task
from sim_bridge.world import World

EXPERT_STREAM = 1
"""Keeps guesses independent of what the world draws from the same seed (a stream of 0 would be the world's own)."""


@dataclass(frozen=True)
class ExpertEpisode:
    """One episode to run: which task, seed and shift, whether the expert knows, and the noise on its arm actions (rad)."""

    task: str
    seed: int
    knows: bool
    noise_rad: float = 0.0
    shift: str = ""


def run_expert(episode: ExpertEpisode, world: World) -> Outcome:
    """Plays the episode in a world of its task, without pictures, and returns how it ended."""
    rng = np.random.Generator(np.random.PCG64([episode.seed, EXPERT_STREAM]))
    world.reset(episode.seed)
    expert = world.task.expert(episode.knows, rng)
    while not world.outcome().done:
        target = expert.action(world, world.set_point)
        target[:7] += rng.normal(0.0, episode.noise_rad, 7)
        world.advance(ramp(world.set_point, target))
    return world.outcome()


def run_experts(episodes: list[ExpertEpisode], workers: int) -> Iterator[Outcome]:
    """Outcomes in the order of the episodes, in this process or in several."""
    if workers == 1:
        yield from map(_run_one, episodes)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(_run_one, episodes)


@functools.cache
def _world(task: str, shift: str) -> World:
    return World(task_by_name(task, load_shift(shift, task)), [])


def _run_one(episode: ExpertEpisode) -> Outcome:
    return run_expert(episode, _world(episode.task, episode.shift))


def main() -> int:
    arguments = _parse()
    if arguments.episodes < 1:
        raise ConfigurationError(f"--episodes {arguments.episodes}: ask for at least 1")
    rows = [("task", "shift", "memory", "expert", "success", "chance")]
    for shift, task in _worlds(arguments.task, arguments.shift):
        for knows in (True, False) if task.chance < 1.0 else (True,):
            rate = _measure(task.name, shift, knows, arguments)
            expert = "knows" if knows else "guesses"
            rows.append((task.name, shift or "-", task.memory, expert, rate, f"{100 * task.chance:.0f} %"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _worlds(task: str, shift: str) -> list[tuple[str, Task]]:
    """(shift, task) for each that is asked for; "all" shifts are those that change something of the task."""
    names = list(TASKS) if task == "all" else [task]
    if shift != "all":
        return [(shift, task_by_name(name, load_shift(shift, name))) for name in names]
    known = [(each, read_shift(each)) for each in shift_names()]
    return [
        (each, task_by_name(name, load_shift(each, name)))
        for name in names
        for each, file in known
        if file.concerns(name)
    ]


def _measure(task: str, shift: str, knows: bool, arguments: argparse.Namespace) -> str:
    seeds = range(arguments.seed, arguments.seed + arguments.episodes)
    episodes = [ExpertEpisode(task, seed, knows, arguments.noise, shift) for seed in seeds]
    label = ", ".join(filter(None, (task, shift, "knows" if knows else "guesses")))
    outcomes = list(tqdm(run_experts(episodes, arguments.workers), total=len(episodes), desc=label, unit="episode"))
    return str(success_rate(sum(outcome.success for outcome in outcomes), len(outcomes)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sim_bridge.check_experts",
        description="Success rates of the scripted experts, and of experts that guess what must be remembered.",
        epilog="example: python -m sim_bridge.check_experts --task all --episodes 200",
    )
    parser.add_argument("--task", default="all", help="task name, as in config/tasks, or all (default)")
    add_shift_option(parser, or_all=True)
    parser.add_argument("--episodes", type=int, default=200, help="number of episodes, one per seed (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="first seed (default 0)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1); results do not depend on it")
    parser.add_argument("--noise", type=float, default=0.0, help="noise on each arm joint's action, rad (default 0)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
