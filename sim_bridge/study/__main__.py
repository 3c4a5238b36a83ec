"""Run a study: ``python -m sim_bridge.study config/study/context_length.yaml``."""

import argparse
import signal
import sys
from pathlib import Path

from policy_server.runtime.claim import claimed
from policy_server.runtime.command import EXIT_ERROR, run_command
from policy_server.runtime.errors import ConfigurationError
from sim_bridge.study.configuration import load_study
from sim_bridge.study.datasets import collect, missing_demonstrations
from sim_bridge.study.engine import Engine, LocalEngine, usable_cores, visible_gpus
from sim_bridge.study.plan import Plan, is_chosen, make_plan
from sim_bridge.study.progress import Display, counted, duration
from sim_bridge.study.run import RunLimits, run_cells


def main() -> int:
    arguments = _parse()
    plan = make_plan(load_study(arguments.config, arguments.overrides), Path.cwd())
    if arguments.report:
        return _report(plan, arguments)
    if arguments.dry_run:
        return _list(plan, arguments)
    with claimed(plan.root / plan.config.output):
        return _run(plan, arguments)


def _run(plan: Plan, arguments: argparse.Namespace) -> int:
    if arguments.retry_failed:
        plan.forget_failures(arguments.only)
    if arguments.prune:
        plan.strangers.clear()
    pending = plan.pending(arguments.only)
    print(
        f"{len(pending)} of {len(plan.cells)} cells to run; {len(plan.results)} are done, {len(plan.failures)} failed before",
        flush=True,
    )
    orphaned: set[str] = set()  # bases that failed, and so have left others waiting
    if pending:
        engine = _engine(plan, arguments)
        signal.signal(signal.SIGTERM, _interrupt)  # only now: Ray sets a handler of its own
        limit_s = None if arguments.time_limit is None else 60 * arguments.time_limit
        with Display() as display:
            left = run_cells(plan, engine, RunLimits(arguments.only, limit_s), display)
        orphans = [cell for cell in left if cell.base is not None and cell.base.hash in plan.failures]
        orphaned = {cell.base.hash for cell in orphans if cell.base is not None}
        if orphans:
            print(f"left because the policy that they adapt failed: {counted(len(orphans), 'cell')}")
        if len(left) > len(orphans):
            print(f"left for want of time: {counted(len(left) - len(orphans), 'cell')}; start the same command again")
    status = _report(plan, arguments)
    failed = [
        plan.failures[cell.hash]
        for cell in plan.cells
        if cell.hash in plan.failures and (cell.hash in orphaned or is_chosen(cell, arguments.only))
    ]
    for failure in failed:
        print(f"failed: {failure.cell}: {failure.stage}: {failure.error}")
    if failed:
        print(f"{counted(len(failed), 'cell')} failed; mend the cause, then add --retry-failed")
        return EXIT_ERROR
    return status


def _engine(plan: Plan, arguments: argparse.Namespace) -> Engine:
    """The engine, with the demonstrations in place that its cells will ask for."""
    if arguments.engine == "ray":
        if any(cell.base is not None for cell in plan.pending(arguments.only)):
            raise ConfigurationError(
                "--engine ray: cells that adapt another's policy need it on their machine: leave it out"
            )
        from sim_bridge.study.ray_engine import RayEngine

        return RayEngine(arguments.address, arguments.gpus_per_cell, plan.config.collection)
    pending = plan.pending(arguments.only)
    for source, count in missing_demonstrations(pending, plan.root).items():
        what = ", ".join(filter(None, (source.task, source.shift)))
        print(f"collecting {count} demonstrations of {what}", flush=True)
        collect(source, count, plan.config.collection, arguments.workers, plan.root)
    return LocalEngine(
        min(arguments.workers, len(pending)), visible_gpus() if arguments.gpus is None else arguments.gpus
    )


def _report(plan: Plan, arguments: argparse.Namespace) -> int:
    from sim_bridge.study.report import write_report  # draws plots; not needed to run cells

    file = write_report(plan, arguments.config)
    print(f"table: {plan.table}; report: {file}")
    return 0


def _list(plan: Plan, arguments: argparse.Namespace) -> int:
    """Print every cell with its state and, for those to be run, how long it will take."""
    chosen = [cell for cell in plan.cells if is_chosen(cell, arguments.only)]
    pending = {cell.hash for cell in plan.pending(arguments.only)}
    estimates_s = plan.estimate_s(chosen)
    for cell, estimated_s in zip(chosen, estimates_s, strict=True):
        state = "to run" if cell.hash in pending else "failed" if cell.hash in plan.failures else "done"
        time = (
            ""
            if state != "to run"
            else "  not measured yet"
            if estimated_s is None
            else f"  about {duration(estimated_s)}"
        )
        print(f"{state:7}  {cell.id}{time}")
    needed_s = [seconds for cell, seconds in zip(chosen, estimates_s, strict=True) if cell.hash in pending]
    known_s = sum(seconds for seconds in needed_s if seconds is not None)
    time = f", about {duration(known_s / arguments.workers)} with {arguments.workers} workers" if known_s else ""
    print(f"{len(pending)} of {len(chosen)} cells to run{time}")
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sim_bridge.study",
        description="Train and evaluate every cell of a study, and write one table, plots and a report. What is done is skipped: "
        "stop it at any time (Ctrl-C), the same command goes on.",
        epilog="example: python -m sim_bridge.study config/study/context_length.yaml --time-limit 120",
    )
    parser.add_argument("config", help="study (YAML)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace those of the file")
    parser.add_argument(
        "--workers", type=int, default=usable_cores(), help="cells at once, one thread each (default: all cores)"
    )
    parser.add_argument("--gpus", type=int, help="GPUs to share among the workers (default: all there are)")
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="this machine, or a Ray cluster (default local)"
    )
    parser.add_argument(
        "--address", default="auto", help="of the Ray cluster; 'local' starts one on this machine (default auto)"
    )
    parser.add_argument(
        "--gpus-per-cell", type=float, default=0.0, help="GPUs that a cell takes on Ray; may be 0.25 (default 0)"
    )
    parser.add_argument(
        "--only", default="*", metavar="PATTERN", help="only cells whose name contains this; * and ? stand for anything"
    )
    parser.add_argument(
        "--time-limit", type=float, metavar="MINUTES", help="begin no cell that would not be done by then"
    )
    parser.add_argument("--retry-failed", action="store_true", help="run again the cells that failed")
    parser.add_argument("--prune", action="store_true", help="drop the table's rows for which the study asks no longer")
    parser.add_argument("--dry-run", action="store_true", help="list the cells with their estimated time, and end")
    parser.add_argument("--report", action="store_true", help="make report and plots anew from the table, and end")
    arguments = parser.parse_args()
    if arguments.workers < 1:
        raise ConfigurationError(f"--workers {arguments.workers}: give at least 1")
    return arguments


if __name__ == "__main__":
    sys.exit(run_command(main))
