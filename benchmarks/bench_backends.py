"""The same policy through every backend: ``python benchmarks/bench_backends.py --json backends.json``.

One bundle, the same seeds, in simulated time: directly in one process, and through ``arm_node``'s control with each backend. franky's
motions are emulated at 1 kHz. Paired over the episodes.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from machine import describe_machine
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.command import run_command
from policy_server.runtime.resources import resource
from ros_nodes.franka.settings import GuardSettings, load_guard_settings
from sim_bridge.arm import GuardedArm
from sim_bridge.backend_arms import ARMS, ControlledArm
from sim_bridge.episode import EngineConfig, PolicyEpisodes, world_for
from sim_bridge.intervals import success_rate
from sim_bridge.study.statistics import paired_difference
from sim_bridge.task_config import TaskConfig, load_task_config

DIRECT = "one process"


class EpisodesThrough(PolicyEpisodes):
    """Episodes in which another arm executes the chunks."""

    def __init__(self, bundle: Bundle, task: TaskConfig, guard: GuardSettings, arm: GuardedArm | ControlledArm) -> None:
        super().__init__(bundle, task, guard, EngineConfig())
        self._arm = arm  # type: ignore[assignment]


def main() -> int:
    arguments = _parse()
    task = load_task_config(arguments.task)
    bundle = load_bundle(arguments.bundle or resource(f"bundles/{arguments.task}"))
    guard = load_guard_settings(resource("config/arm.yaml"))
    arms: dict[str, GuardedArm | ControlledArm] = {DIRECT: GuardedArm(guard)}
    arms |= {name: ControlledArm(guard, make_arm) for name, make_arm in ARMS.items()}
    outcomes = {
        name: run(EpisodesThrough(bundle, task, guard, arm), bundle, task, arguments.episodes, name)
        for name, arm in arms.items()
    }
    record = {"machine": describe_machine(), "task": arguments.task, "episodes": arguments.episodes, "backends": {}}
    print(f"{'backend':18} {'success':>34}  difference to {DIRECT}")
    for name, successes in outcomes.items():
        rate = success_rate(int(successes.sum()), len(successes))
        difference = paired_difference([(successes[None], outcomes[DIRECT][None])])
        low, high = difference.interval
        print(
            f"{name:18} {rate!s:>34}  {100 * difference.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}) points"
        )
        record["backends"][name] = {  # type: ignore[index]
            **dataclasses.asdict(rate),
            "outcomes": successes.tolist(),
            "difference": dataclasses.asdict(difference),
        }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"files: {arguments.json}")
    return 0


def run(episodes: PolicyEpisodes, bundle: Bundle, task: TaskConfig, count: int, name: str) -> NDArray[np.int8]:
    """1 where the episode of that seed succeeded, int8 (count,)."""
    world = world_for(bundle, task)
    seeds = tqdm(range(count), desc=name, unit="episode")
    successes = np.array([episodes.run(world, seed).success for seed in seeds], np.int8)
    world.close()
    return successes


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Success of one policy through each of the arm's backends, on the same episodes.",
        epilog="example: python benchmarks/bench_backends.py --task reach_cued --episodes 100 --json runs/bench/backends.json",
    )
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--task", default="reach_cued", help="task name, as in config/tasks (default reach_cued)")
    parser.add_argument("--bundle", type=Path, help="folder of the bundle (default: the one that ships for the task)")
    parser.add_argument("--episodes", type=int, default=100, help="episodes per backend, seeds from 0 on (default 100)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
