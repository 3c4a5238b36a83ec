"""Examine machine, graph and robot: ``python -m ros_nodes.doctor bundle=/path/to/bundle --robot 172.16.0.2``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from policy_server.runtime.command import run_command
from policy_server.runtime.configuration import apply_overrides, build, read_yaml
from policy_server.runtime.errors import ConfigurationError
from ros_nodes.doctor.checks import CHECKS, Check
from ros_nodes.doctor.examination import Examination
from ros_nodes.doctor.finding import Finding, fail
from ros_nodes.doctor.report import exit_status, summary, write_json
from ros_nodes.doctor.settings import DoctorSettings


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parse(arguments)
    checks = _chosen(given.only)
    settings = _settings(given)
    examination = Examination(settings)
    by_check: dict[str, list[Finding]] = {}
    for number, check in enumerate(checks):
        _show_progress(check, sum(each.seconds(settings) for each in checks[number:]))
        by_check[check.name] = _run(check, examination)
        _clear_progress()
        for finding in by_check[check.name]:
            print(finding.line(), flush=True)
    findings = [finding for each in by_check.values() for finding in each]
    if given.json:
        write_json(given.json, by_check, settings)
    print(summary(findings, given.json))
    return exit_status(findings)


def _run(check: Check, examination: Examination) -> list[Finding]:
    """A check that breaks is a finding too: the others still have something to say."""
    try:
        return check.run(examination)
    except Exception as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return [fail(check.name, found, "the check itself failed: report it with this line")]


def _chosen(only: str) -> list[Check]:
    names = [check.name for check in CHECKS]
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ConfigurationError(f"--only: no check '{unknown[0]}'; there are {', '.join(names)}")
    return [check for check in CHECKS if check.name in (wanted or names)]


def _settings(given: argparse.Namespace) -> DoctorSettings:
    values = apply_overrides(read_yaml(given.config) if given.config else {}, given.overrides)
    if given.robot:
        values["robot_address"] = given.robot
    return build(DoctorSettings, values, str(given.config or "options"))


def _show_progress(check: Check, left_s: float) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{check.name}: {check.about} … {left_s:.0f} s left", end="", file=sys.stderr, flush=True)


def _clear_progress() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ros_nodes.doctor",
        description="Looks at this machine, the graph and the robot, and says how to mend what does not fit. Moves nothing.\n"
        "Exit status 1 when something fails.",
        epilog="checks:\n"
        + "".join(f"  {check.name:<12} {check.about}\n" for check in CHECKS)
        + "\nexample: python -m ros_nodes.doctor bundle=bundles/reach_cued --robot 172.16.0.2",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="options, as python -m ros_nodes.start robot takes them"
    )
    parser.add_argument(
        "--robot", metavar="ADDRESS", help="the arm's address; connects for a second and takes the one client's place"
    )
    parser.add_argument("--only", default="", metavar="A,B", help="only these checks")
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of options (see config/doctor.yaml)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was found")
    return parser.parse_intermixed_args(arguments)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
