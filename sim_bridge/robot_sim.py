"""The whole graph with the libfranka driver against a robot on loopback: ``make robot-sim``.

The loopback robot answers libfranka's protocol as an FR3 does, so everything below the policy is what a real robot gets;
only the pictures come from MuJoCo (``mirror_node``).
"""

import argparse
import datetime
import sys
from pathlib import Path

from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.command import run_command
from ros_nodes.graph import RobotSimOptions, default_domain_id, robot_sim_graph
from ros_nodes.start import EXIT_INTERRUPTED, run
from sim_bridge.graph_output import shown_and_logged
from sim_bridge.graph_run import GraphRunError
from sim_bridge.intervals import success_rate
from sim_bridge.loopback.robot import LoopbackRobot
from sim_bridge.run_files import EPISODES_FILE, read_results
from sim_bridge.shipped_bundle import shipped_bundle
from sim_bridge.task_config import load_task_config

ROBOT_LOG = "robot.log"


def main() -> int:
    arguments = _parse()
    load_task_config(arguments.task)
    options = _options(arguments)
    load_bundle(options.bundle)
    folder = Path(options.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    how_many = f"{options.episodes} episodes" if options.episodes else "until Ctrl-C"
    print(f"{options.task}: {how_many}, libfranka on {options.robot_address}; Ctrl-C ends the run", flush=True)
    with LoopbackRobot(options.robot_address, log=folder / ROBOT_LOG) as robot:
        with shown_and_logged(folder / "graph.log") as on_line:
            outcome = run(robot_sim_graph(options), on_line)
        report(robot, folder)
    if outcome.status not in (0, EXIT_INTERRUPTED):
        raise GraphRunError(f"{outcome.reason} (all output: {folder / 'graph.log'})")
    return 0


def report(robot: LoopbackRobot, folder: Path) -> None:
    """Success, reflexes, and whether the robot kept up with real time."""
    results = read_results(folder)
    if results:
        print(f"\nsuccess: {success_rate(sum(result.success for result in results), len(results))}")
    print(f"reflexes: {len(robot.aborts)}")
    for abort in robot.aborts:
        print(f"  {abort.reason}")
    if robot.paces:
        slowest, mean = min(robot.paces), sum(robot.paces) / len(robot.paces)
        print(f"pace of the robot's time against real time: mean {mean:.2f}, slowest second {slowest:.2f}")
    print(
        f"\nfiles:\n  {folder / EPISODES_FILE}  (results)\n  {folder / 'graph.log'}, {folder / ROBOT_LOG}  (all output)"
    )


def _options(arguments: argparse.Namespace) -> RobotSimOptions:
    started = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return RobotSimOptions(
        bundle=str(arguments.bundle or shipped_bundle(arguments.task)),
        task=arguments.task,
        robot_address=arguments.robot_address,
        episodes=arguments.episodes,
        seed=arguments.seed,
        output_dir=str(arguments.output or Path("runs") / f"robot-sim-{started}"),
        domain_id=arguments.domain_id,
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sim_bridge.robot_sim",
        description="Run the graph with the libfranka driver against a simulated robot on loopback.",
        epilog="example: python -m sim_bridge.robot_sim --task reach_cued --episodes 3",
    )
    parser.add_argument("--task", default="reach_cued", help="task name, as in config/tasks (default reach_cued)")
    parser.add_argument(
        "--bundle", type=Path, help="folder of the policy's bundle (default: the one that ships for the task)"
    )
    parser.add_argument("--episodes", type=int, default=0, help="number of episodes (default 0: until Ctrl-C)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first episode (default 0)")
    parser.add_argument(
        "--robot-address", default="127.0.0.1", help="loopback address of the robot (default 127.0.0.1)"
    )
    parser.add_argument(
        "--domain-id", type=int, default=default_domain_id(), help="ROS domain (default ROS_DOMAIN_ID or 0)"
    )
    parser.add_argument("--output", type=Path, help="folder for results (default runs/robot-sim-<time>)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
