"""Minutes of policy motion on the loopback robot with injected faults: ``python -m sim_bridge.robot_soak --minutes 10 --json FILE``.

The robot judges: it checks every command of the 1 kHz stream against the FR3's limits and aborts the motion with a reflex
when one is broken. The number that matters is how often it does so without being asked to: ``reflexes_by_us``.
"""

import argparse
import sys
import time
from pathlib import Path

from policy_server.runtime.bundle import load_bundle, sha256_of
from policy_server.runtime.command import run_command, stoppable
from policy_server.runtime.resources import resource
from ros_nodes.franka.settings import load_guard_settings
from ros_nodes.graph import RobotSimOptions, default_domain_id
from sim_bridge.graph_output import shown_and_logged
from sim_bridge.shipped_bundle import shipped_bundle
from sim_bridge.soak.record import SoakConditions, SoakRecord, load_or_begin
from sim_bridge.soak.run import Soak
from sim_bridge.task_config import load_task_config

EXIT_REFLEX = 1
EXIT_INTERRUPTED = 130
_SAVE_EVERY_S = 5.0
_PROGRESS_EVERY_S = 30.0


def main() -> int:
    arguments = _parse()
    load_task_config(arguments.task)
    options = _options(arguments)
    conditions = _conditions(arguments, options)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    Path(options.output_dir).mkdir(parents=True, exist_ok=True)
    record = load_or_begin(arguments.json, arguments.minutes, arguments.seed, conditions)
    if record.done_s:
        print(f"goes on after {_clock(record.done_s)} of {_clock(60 * record.minutes)}", flush=True)
    if record.left_s > 0.0:  # the output of a soak that is over stays as it is
        keeper = _Keeper(record, arguments.json)
        with stoppable() as stopped, shown_and_logged(Path(options.output_dir) / "graph.log", show=False) as on_line:
            soak = Soak(options, record, arguments.every_s, keeper.say, on_line, arguments.enforce_communication)
            soak.run(stopped, keeper.keep)
        record.save(arguments.json)
    report(record)
    print(f"files: {arguments.json}; all output in {options.output_dir}")
    if record.left_s > 0.0:
        return EXIT_INTERRUPTED
    return EXIT_REFLEX if record.reflexes_by_us or record.never_rested else 0


def report(record: SoakRecord) -> None:
    """The verdict in a few lines."""
    summary = record.summary()["summary"]
    print(
        f"\n{_clock(record.done_s)} of motion, {summary['faults']} faults, motion again after {summary['moved_again']}"
    )
    for kind, counts in sorted(record.faults.items()):
        print(f"  {kind}: {counts['struck']}, moved again {counts['moved again']}")
    print(f"reflexes by us: {len(record.reflexes_by_us)} (on our word: {record.reflexes_injected})")
    for reason in record.reflexes_by_us:
        print(f"  {reason}")
    print(f"silences in which the arm never came to rest: {record.never_rested}")
    if record.rest_s:
        print(f"longest time from the last chunk to rest: {max(record.rest_s):.2f} s in {len(record.rest_s)} silences")
    print(
        f"mean pace of the robot's time: {summary['mean_pace']:.2f} (1 is real time; below 0.9 the machine was too busy)"
    )


class _Keeper:
    """Writes the record and the progress now and then."""

    def __init__(self, record: SoakRecord, file: Path) -> None:
        self._record = record
        self._file = file
        self._saved_s = self._shown_s = 0.0

    def say(self, line: str) -> None:
        print(f"{_clock(self._record.done_s)}  {line}", flush=True)

    def keep(self) -> None:
        now_s = time.monotonic()
        if now_s - self._saved_s > _SAVE_EVERY_S:
            self._record.save(self._file)
            self._saved_s = now_s
        if now_s - self._shown_s > _PROGRESS_EVERY_S:
            by_us = len(self._record.reflexes_by_us)
            self.say(
                f"{by_us} reflexes by us, {self._record.chunks_carried} chunks; {_clock(self._record.left_s)} left"
            )
            self._shown_s = now_s


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def _options(arguments: argparse.Namespace) -> RobotSimOptions:
    return RobotSimOptions(
        bundle=str(arguments.bundle or shipped_bundle(arguments.task)),
        task=arguments.task,
        robot_address=arguments.robot_address,
        seed=arguments.seed,
        output_dir=str(arguments.output),
        domain_id=arguments.domain_id,
        arm_file=str(arguments.arm_file or ""),
    )


def _conditions(arguments: argparse.Namespace, options: RobotSimOptions) -> SoakConditions:
    arm_file = arguments.arm_file or resource("config/arm.yaml")
    load_guard_settings(arm_file)
    return SoakConditions(
        task=options.task,
        bundle_hash=load_bundle(options.bundle).hash,
        arm_file_sha256=sha256_of(arm_file),
        enforce_communication=arguments.enforce_communication,
        every_s=arguments.every_s,
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sim_bridge.robot_soak",
        description="Policy motion on the loopback robot with injected faults; counts the reflexes that are our fault.",
        epilog="example: python -m sim_bridge.robot_soak --minutes 10 --json runs/soak/result.json",
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="motion in all (default 10)")
    parser.add_argument("--json", type=Path, required=True, help="the record; the same command goes on from it")
    parser.add_argument("--every-s", type=float, default=10.0, help="time between two faults (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the faults and the episodes (default 0)")
    parser.add_argument("--task", default="reach_cued", help="task name, as in config/tasks (default reach_cued)")
    parser.add_argument(
        "--bundle", type=Path, help="folder of the policy's bundle (default: the one that ships for the task)"
    )
    parser.add_argument(
        "--robot-address", default="127.0.0.1", help="loopback address of the robot (default 127.0.0.1)"
    )
    parser.add_argument(
        "--domain-id", type=int, default=default_domain_id(), help="ROS domain (default ROS_DOMAIN_ID or 0)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("runs/soak"), help="folder for all output (default runs/soak)"
    )
    parser.add_argument("--arm-file", type=Path, help="the guard's settings (default: the package's config/arm.yaml)")
    parser.add_argument(
        "--enforce-communication",
        action="store_true",
        help="late packets are a reflex, as on a robot; needs a quiet machine",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
