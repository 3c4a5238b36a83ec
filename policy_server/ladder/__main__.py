"""Train a ladder of policy sizes and fit the spectral laws: ``python -m policy_server.ladder config/muon/ladder.yaml``."""

import argparse
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from policy_server.ladder.configuration import LadderConfig, load_ladder
from policy_server.ladder.rungs import Rung, make_rungs
from policy_server.runtime.claim import claimed
from policy_server.runtime.command import EXIT_ERROR, EXIT_INTERRUPTED, run_command
from policy_server.runtime.configuration import load
from policy_server.sweep.arguments import add_arguments, parse
from policy_server.sweep.running import list_jobs, run_jobs
from policy_server.training.configuration import TrainingConfig


def main() -> int:
    arguments = _parse()
    config = load_ladder(arguments.config, arguments.overrides)
    rungs = make_rungs(config)
    if arguments.recipe_for:
        return _write_recipe(config, rungs, arguments)
    if arguments.report:
        return _report(config, rungs, arguments.config)
    chosen = [rung for rung in rungs if fnmatch(rung.training.name, f"*{arguments.only}*")]
    if arguments.dry_run:
        list_jobs([rung.job for rung in chosen], arguments.workers)
        return 0
    with claimed(config.output):
        return _run(config, rungs, chosen, arguments)


def _run(config: LadderConfig, rungs: Sequence[Rung], chosen: Sequence[Rung], arguments: argparse.Namespace) -> int:
    for rung in chosen:
        rung.prepare()
    outcome = run_jobs([rung.job for rung in chosen], arguments.workers)
    if outcome.stopped:
        print(f"stopped; the same command goes on. Runs are in {config.output}")
        return EXIT_INTERRUPTED
    for failure in outcome.failures:
        print(f"failed: {failure.job.name}: {failure.reason}", file=sys.stderr)
    if outcome.failures:
        return EXIT_ERROR
    return _report(config, rungs, arguments.config)


def _report(config: LadderConfig, rungs: Sequence[Rung], config_file: str) -> int:
    from policy_server.ladder.report import write_report  # draws plots; not needed to train

    page = write_report(config, rungs, config_file)
    print(f"runs are in {config.output}; the report is {page}, tables and plots beside it")
    return 0


def _write_recipe(config: LadderConfig, rungs: Sequence[Rung], arguments: argparse.Namespace) -> int:
    from policy_server.ladder.plateau import plateau_values, read_curves
    from policy_server.ladder.recipes import recipe_for
    from policy_server.muon.recipe_file import write_recipe

    training = load(TrainingConfig, arguments.recipe_for)
    done = [rung for rung in rungs if rung.job.is_done]
    values = plateau_values([curve for rung in done for curve in read_curves(rung)], config.plateau)
    recipe = recipe_for(config, values, training)
    write_recipe(recipe, arguments.recipe)
    for name, value in recipe.prediction.items():
        print(f"predicted {name.replace('_', ' ')}: {value}")
    print(f"recipe for {len(recipe.layers)} layers is in {arguments.recipe}")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m policy_server.ladder",
        description="Train policies of growing size with Muon, fit how the spectra of their momenta shrink with the size, and write "
        "tables, plots and a part of the report. What is done is skipped: stop it at any time (Ctrl-C), the same command goes on.",
        epilog="example: python -m policy_server.ladder config/muon/ladder.yaml --workers 2",
    )
    add_arguments(parser, "ladder")
    parser.add_argument(
        "--recipe-for",
        type=Path,
        metavar="TRAINING.yaml",
        help="write the recipe that the laws predict for the networks of this training, and end",
    )
    parser.add_argument(
        "--recipe", type=Path, default=Path("recipe.yaml"), help="the recipe's file (default recipe.yaml)"
    )
    return parse(parser)


if __name__ == "__main__":
    sys.exit(run_command(main))
