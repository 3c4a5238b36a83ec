"""The whole graph against MuJoCo, in one command: ``python -m sim_bridge.sim --task reach_cued`` (what ``make sim`` runs)."""

import argparse
import dataclasses
import datetime
import json
import sys
from pathlib import Path

from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.command import run_command
from ros_nodes.graph import SimOptions, default_domain_id
from sim_bridge.graph_run import GraphRun, run_graph
from sim_bridge.intervals import success_rate
from sim_bridge.latency import latency_table, read_ticks, stage_latencies
from sim_bridge.run_files import VIDEO_FILE
from sim_bridge.run_plots import CONTEXT_FILE, FILMSTRIP_FILE, JOINTS_FILE, draw_filmstrip, plot_context, plot_joints
from sim_bridge.shift import add_shift_option
from sim_bridge.shipped_bundle import shipped_bundle
from sim_bridge.task_config import load_task_config

SUMMARY_FILE = "summary.json"


def main() -> int:
    options = _options(_parse())
    spec = load_bundle(options.bundle).spec
    print(
        f"{options.task}: {options.episodes} episodes, {options.clock}, context of {spec.history.length} ticks; Ctrl-C ends the run",
        flush=True,
    )
    run = run_graph(options)
    report(run, options, len(spec.proprioception_joints))
    return 0


def report(run: GraphRun, options: SimOptions, proprioception: int) -> None:
    """Print success and latencies; draw the pictures; write ``summary.json``."""
    folder = run.folder
    rate = success_rate(sum(result.success for result in run.results), len(run.results))
    ticks, lost = read_ticks(folder)
    latencies = stage_latencies(ticks)
    print(f"\nsuccess: {rate}")
    print(f"\nlatency over {len(ticks)} ticks ({len(lost)} without an answer)\n{latency_table(latencies)}")
    trace = folder / f"trace_{run.results[0].seed}.npz"
    draw_filmstrip(folder / VIDEO_FILE, run.results[0].ticks, folder / FILMSTRIP_FILE)
    plot_joints(trace, folder / JOINTS_FILE)
    plot_context(trace, folder / CONTEXT_FILE, proprioception)
    summary = {
        "options": dataclasses.asdict(options),
        **dataclasses.asdict(rate),
        "latency": [dataclasses.asdict(row) for row in latencies],
        "ticks_without_answer": [dataclasses.asdict(tick) for tick in lost],
    }
    (folder / SUMMARY_FILE).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print("\nfiles:")
    for name, what in (
        (VIDEO_FILE, "the episodes"),
        (FILMSTRIP_FILE, "the first episode at a glance"),
        (JOINTS_FILE, "joint targets and measurements"),
        (CONTEXT_FILE, "what the policy remembers"),
        (SUMMARY_FILE, "all figures"),
    ):
        print(f"  {folder / name}  ({what})")


def _options(arguments: argparse.Namespace) -> SimOptions:
    load_task_config(arguments.task, shift=arguments.shift)
    started = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return SimOptions(
        bundle=str(arguments.bundle or shipped_bundle(arguments.task)),
        task=arguments.task,
        episodes=arguments.episodes,
        seed=arguments.seed,
        clock=arguments.clock,
        output_dir=str(arguments.output or Path("runs") / f"sim-{started}"),
        provider=arguments.provider,
        threads=arguments.threads,
        candidates=arguments.candidates,
        domain_id=arguments.domain_id,
        shift=arguments.shift,
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sim_bridge.sim",
        description="Run camera → history → inference → arm as ROS 2 nodes against MuJoCo, and report success and latency.",
        epilog="example: python -m sim_bridge.sim --task reach_cued --episodes 5 --clock real",
    )
    parser.add_argument("--task", default="reach_cued", help="task name, as in config/tasks (default reach_cued)")
    parser.add_argument(
        "--bundle", type=Path, help="folder of the policy's bundle (default: the one that ships for the task)"
    )
    add_shift_option(parser)
    parser.add_argument("--episodes", type=int, default=5, help="number of episodes (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first episode (default 0)")
    parser.add_argument(
        "--clock", choices=("real", "lockstep"), default="real", help="real time, or step by step (default real)"
    )
    parser.add_argument(
        "--provider", choices=("cpu", "cuda", "tensorrt"), default="cpu", help="where the networks run (default cpu)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads per network (default 1)")
    parser.add_argument(
        "--candidates", type=int, default=0, help="chunks drawn and verified per sample (default 0: as the bundle says)"
    )
    parser.add_argument(
        "--domain-id", type=int, default=default_domain_id(), help="ROS domain (default ROS_DOMAIN_ID or 0)"
    )
    parser.add_argument("--output", type=Path, help="folder for results (default runs/sim-<time>)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
