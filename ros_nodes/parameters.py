"""Node parameters: declared once from a table with description, range and read-only mark; unknown ones are refused."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node

from policy_server.runtime.configuration import read_yaml
from policy_server.runtime.errors import ConfigurationError

ParameterValue = bool | int | float | str

# Parameters that rclpy itself declares on every node.
_DECLARED_BY_RCLPY = ("use_sim_time", "start_type_description_service")


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter of a node. The default's type is the parameter's type; a limit of None leaves that side open."""

    name: str
    default: ParameterValue
    description: str
    minimum: float | None = None
    maximum: float | None = None
    read_only: bool = True


def declare_parameters(node: Node, table: Iterable[ParameterSpec]) -> dict[str, Any]:
    """Declare a node's parameters and return their values by name.

    Raises:
        ConfigurationError: an override that no parameter of the table takes, of the wrong type, or out of range.
    """
    table = tuple(table)
    # rclpy offers no public way to list overrides of parameters that were never declared.
    _refuse_unknown(node._parameter_overrides, [spec.name for spec in table])
    return {spec.name: _declare(node, spec) for spec in table}


def required(values: Mapping[str, Any], name: str) -> Any:
    """A parameter that has no useful default; raises ConfigurationError when it was left empty."""
    if values[name] in ("", None):
        raise ConfigurationError(
            f"parameter '{name}' is not set: pass -p {name}:=VALUE or set it in the parameters file"
        )
    return values[name]


def check_parameters_file(path: Path | str, node_names: Iterable[str]) -> None:
    """Refuse a parameters file that names a node which the graph does not have: ROS would silently ignore the section.

    Raises:
        ConfigurationError: the file is missing, not YAML, or names an unknown node.
    """
    known = list(node_names)
    for pattern in _node_patterns(read_yaml(path)):
        name = pattern.rsplit("/", 1)[-1]
        if name not in known and "*" not in name:
            raise ConfigurationError(f"{path}: no node '{name}' in this graph; {_mend(name, known)}")


def _node_patterns(content: Mapping[str, Any]) -> list[str]:
    """Node names in a parameters file, with the namespaces they are nested in."""
    patterns: list[str] = []
    for key, value in content.items():
        if isinstance(value, dict) and "ros__parameters" not in value and value:
            patterns += [f"{key}/{inner}" for inner in _node_patterns(value)]
        else:
            patterns.append(str(key))
    return patterns


def _declare(node: Node, spec: ParameterSpec) -> Any:
    try:
        return node.declare_parameter(spec.name, spec.default, _descriptor(spec)).value
    except ParameterException as error:
        raise ConfigurationError(f"parameter '{spec.name}' {_complaint(node, spec)}") from error


def _complaint(node: Node, spec: ParameterSpec) -> str:
    given = node._parameter_overrides[spec.name].value if spec.name in node._parameter_overrides else spec.default
    example = f", e.g. {spec.default!r}" if spec.default != "" else ""
    return f"is {given!r}, it takes {_TYPE_NAMES[type(spec.default)]}{_limits(spec)}{example}: {spec.description}"


def _limits(spec: ParameterSpec) -> str:
    if spec.minimum is None:
        return "" if spec.maximum is None else f" of at most {spec.maximum}"
    return f" of at least {spec.minimum}" if spec.maximum is None else f" between {spec.minimum} and {spec.maximum}"


_TYPE_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number with a decimal point",
    str: "text",
}


def _descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=spec.description, read_only=spec.read_only)
    if spec.minimum is None and spec.maximum is None:
        return descriptor
    if isinstance(spec.default, float):
        low = -1e300 if spec.minimum is None else float(spec.minimum)
        high = 1e300 if spec.maximum is None else float(spec.maximum)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
    else:
        lowest = -(2**62) if spec.minimum is None else int(spec.minimum)
        highest = 2**62 if spec.maximum is None else int(spec.maximum)
        descriptor.integer_range = [IntegerRange(from_value=lowest, to_value=highest, step=1)]
    return descriptor


def _refuse_unknown(given: Iterable[str], declared: list[str]) -> None:
    for name in given:
        if name in declared or name in _DECLARED_BY_RCLPY or name.startswith("qos_overrides."):
            continue
        raise ConfigurationError(f"no parameter '{name}'; {_mend(name, declared)}")


def _mend(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
