"""The configuration files of the graph: do they read, and does every name in them exist?"""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from policy_server.runtime.configuration import read_yaml
from policy_server.runtime.errors import PolicyError
from ros_nodes.doctor.finding import Finding, fail, fail_with, ok
from ros_nodes.franka.settings import GuardSettings, load_guard_settings


def check_arm_file(path: Path, robot: str | None) -> tuple[Finding, GuardSettings | None]:
    """The finding, and the settings where they could be read."""
    name = "arm file"
    try:
        settings = load_guard_settings(path, robot)
    except PolicyError as error:
        return fail_with(name, error), None
    scale = f"velocity scale {settings.velocity_scale:g}, watchdog {settings.watchdog_ns / 1e9:g} s"
    return ok(name, f"{path}: {settings.robot}, {scale}"), settings


def check_nodes_file(path: Path, known: Mapping[str, tuple[str, ...]]) -> Finding:
    """``known``: node name -> its parameters; empty parameters are not looked at."""
    name = "nodes file"
    try:
        sections = read_yaml(path)
    except PolicyError as error:
        return fail_with(name, error)
    for node, parameters in _sections(sections):
        if node not in known and "*" not in node:
            return fail(name, f"{path}: no node '{node}'", _mend(node, known))
        for parameter in parameters:
            if known.get(node) and parameter not in known[node]:
                return fail(name, f"{path}: {node} has no parameter '{parameter}'", _mend(parameter, known[node]))
    return ok(name, str(path))


def parameters_of(path: Path, node: str) -> dict[str, Any]:
    """What a nodes file sets for a node, in whatever namespace. Raises ConfigurationError when it does not read."""
    found: dict[str, Any] = {}
    for name, parameters in _sections(read_yaml(path)):
        if name == node:
            found |= parameters
    return found


def _sections(content: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Node names in a parameters file, also below namespaces, each with the parameters it sets."""
    for key, value in content.items():
        if isinstance(value, dict) and "ros__parameters" not in value:
            yield from _sections(value)
        else:
            inner = value.get("ros__parameters") if isinstance(value, dict) else None
            yield str(key).rsplit("/", 1)[-1], {str(name): set_to for name, set_to in (inner or {}).items()}


def _mend(name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
