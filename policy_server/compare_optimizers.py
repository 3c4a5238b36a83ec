"""Compare optimizers on the project's policies: ``python -m policy_server.compare_optimizers config/muon/comparison.yaml``."""

import argparse
import sys
from collections.abc import Sequence
from fnmatch import fnmatch

from policy_server.comparison.configuration import ComparisonConfig, load_comparison
from policy_server.comparison.runs import Run, Runs, choose_rates
from policy_server.runtime.claim import claimed
from policy_server.runtime.command import EXIT_ERROR, EXIT_INTERRUPTED, run_command
from policy_server.sweep.arguments import add_arguments, parse
from policy_server.sweep.running import list_jobs, run_jobs


def main() -> int:
    arguments = _parse()
    config = load_comparison(arguments.config, arguments.overrides)
    runs = Runs(config)
    if arguments.report:
        return _report(config, runs, arguments.config)
    if arguments.dry_run:
        return _list(config, runs, arguments)
    with claimed(config.output):
        return _run(config, runs, arguments)


def _run(config: ComparisonConfig, runs: Runs, arguments: argparse.Namespace) -> int:
    """Learning rates first; then the runs whose rates are known."""
    tuning = runs.tuning()
    status = _train("learning rates", config, _chosen(tuning, arguments.only), arguments.workers)
    if status == 0:
        compared = runs.compared(choose_rates(config, tuning))
        status = _train("comparison", config, _chosen(compared, arguments.only), arguments.workers)
    return status or _report(config, runs, arguments.config)


def _train(stage: str, config: ComparisonConfig, runs: Sequence[Run], workers: int) -> int:
    """Do what is not done; returns the exit status, 0 when all is."""
    todo = [run for run in runs if not run.job.is_done]
    if not todo:
        return 0
    print(f"{stage}: {len(todo)} runs to do", flush=True)
    for run in todo:
        run.prepare()
    outcome = run_jobs([run.job for run in todo], workers)
    if outcome.stopped:
        print(f"stopped; the same command goes on. Runs are in {config.output}")
        return EXIT_INTERRUPTED
    for failure in outcome.failures:
        print(f"failed: {failure.job.name}: {failure.reason}", file=sys.stderr)
    return EXIT_ERROR if outcome.failures else 0


def _report(config: ComparisonConfig, runs: Runs, config_file: str) -> int:
    from policy_server.comparison.report import write_report  # draws plots; not needed to train

    tuning = runs.tuning()
    page = write_report(config, tuning, runs.compared(choose_rates(config, tuning)), config_file)
    print(f"runs are in {config.output}; the report is {page}, tables and plots beside it")
    return 0


def _list(config: ComparisonConfig, runs: Runs, arguments: argparse.Namespace) -> int:
    tuning = runs.tuning()
    rates = choose_rates(config, tuning)
    compared = runs.compared(rates)
    list_jobs([run.job for run in _chosen([*tuning, *compared], arguments.only)], arguments.workers)
    unknown = len(config.seeds) * (len(config.policies) * len(config.contestants) - len(rates))
    if unknown:
        print(f"and {unknown} runs whose learning rate is not chosen yet")
    return 0


def _chosen(runs: Sequence[Run], only: str) -> list[Run]:
    return [run for run in runs if fnmatch(run.training.name, f"*{only}*")]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m policy_server.compare_optimizers",
        description="Train the project's policies with several optimizers, alike in all else, and write tables, plots and a part of the "
        "report. What is done is skipped: stop it at any time (Ctrl-C), the same command goes on.",
        epilog="example: python -m policy_server.compare_optimizers config/muon/comparison.yaml --workers 2",
    )
    add_arguments(parser, "comparison")
    return parse(parser)


if __name__ == "__main__":
    sys.exit(run_command(main))
