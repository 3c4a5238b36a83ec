"""Run a laboratory configuration: ``python -m policy_server.lora.lab config/lora/standard.yaml``."""

import argparse
import sys

from policy_server.lora.lab.cells import Group, make_cells, make_groups
from policy_server.lora.lab.configuration import LabConfig, load_lab
from policy_server.lora.lab.progress import Progress
from policy_server.lora.lab.simulation import run_group
from policy_server.runtime.claim import claimed
from policy_server.runtime.command import EXIT_INTERRUPTED, run_command, stoppable


def main() -> int:
    arguments = _parse()
    config, series = load_lab(arguments.config, arguments.overrides)
    groups = make_groups(config, make_cells(series))
    if arguments.report:
        return _report(config, groups, arguments.config)
    with claimed(config.output):
        if not _run(config, groups):
            print(f"stopped; the same command goes on. Runs are in {config.output}")
            return EXIT_INTERRUPTED
    return _report(config, groups, arguments.config)


def _run(config: LabConfig, groups: list[Group]) -> bool:
    with Progress(groups, config.instances) as progress, stoppable() as stopped:
        for index, group in enumerate(groups):

            def show(steps: int, index: int = index, group: Group = group) -> None:
                progress.show(index, group, steps)

            if not run_group(group, config, config.output / group.name, show, stopped):
                return False
            progress.finish(index, group)
    return True


def _report(config: LabConfig, groups: list[Group], config_file: str) -> int:
    from policy_server.lora.lab.report import write_report  # draws plots; not needed to run

    page = write_report(config, groups, config_file)
    print(f"runs are in {config.output}; the report is {page}, tables and plots beside it")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m policy_server.lora.lab",
        description="Teach students a rank-one change of a two-layer network by online gradient descent, many instances at once, and write "
        "tables, plots and a part of the report. What is done is skipped: stop it at any time (Ctrl-C, kill), the same command goes on.",
        epilog="example: python -m policy_server.lora.lab config/lora/standard.yaml",
    )
    parser.add_argument("config", help="YAML file of the run, for example config/lora/standard.yaml")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="replaces a setting, for example instances=40 or base.rows=separated",
    )
    parser.add_argument("--report", action="store_true", help="write the report from the groups that are done, and end")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
