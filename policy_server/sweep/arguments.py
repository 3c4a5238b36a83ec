"""The options that every sweep's command has."""

import argparse
import os
from collections.abc import Sequence

from policy_server.runtime.errors import ConfigurationError


def add_arguments(parser: argparse.ArgumentParser, what: str) -> None:
    """Add them; ``what`` is what the YAML file describes."""
    parser.add_argument("config", help=f"{what} (YAML)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace those of the file")
    parser.add_argument(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="runs at once, one thread each, sharing the GPUs (default: all cores)",
    )
    parser.add_argument(
        "--only", default="*", metavar="PATTERN", help="only runs whose name contains this; * and ? stand for anything"
    )
    parser.add_argument("--dry-run", action="store_true", help="list the runs, and how long they take, and end")
    parser.add_argument("--report", action="store_true", help="write the report from the runs that are done, and end")


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Raises ConfigurationError: no worker."""
    parsed = parser.parse_intermixed_args(arguments)
    if parsed.workers < 1:
        raise ConfigurationError(f"--workers {parsed.workers}: give at least 1")
    return parsed
