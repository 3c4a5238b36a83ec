"""Which ROS 2 is in use, is it only one, which middleware does it take, and which domain."""

import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ros_nodes.doctor.finding import Finding, fail, fail_with, ok, warn
from ros_nodes.environment import check_domain_id, refuse_mixed_ros, uses_wheels
from ros_nodes.errors import RosEnvironmentError

_DISTRIBUTIONS = {"7": "jazzy", "9": "kilted"}
_FAST_DDS = ("", "rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp")


@dataclass(frozen=True)
class RosInstallation:
    """What of ROS 2 this Python finds: the wheels' version of rclpy, None without wheels; and whether rclpy is there at all."""

    wheel_version: str | None
    importable: bool


def find_installation() -> RosInstallation:
    """The installation that this process would use."""
    version = importlib.metadata.version("ros-rclpy") if uses_wheels() else None
    return RosInstallation(version, importlib.util.find_spec("rclpy") is not None)


def check_ros(environment: Mapping[str, str], installation: RosInstallation, domain_id: int) -> list[Finding]:
    """``environment`` is the user's, before this command changed it."""
    return [
        _distribution(environment, installation),
        _only_one(environment, installation),
        _middleware(environment, installation),
        _domain(environment, domain_id),
    ]


def _distribution(environment: Mapping[str, str], installation: RosInstallation) -> Finding:
    name, mend = "ROS 2", "Jazzy and Kilted are tested; take one of them"
    if not installation.importable:
        return fail(
            name,
            "rclpy is not installed",
            "pip install -c constraints.txt '.[ros]', or source /opt/ros/<distro>/setup.bash",
        )
    if installation.wheel_version is not None:
        distribution = _DISTRIBUTIONS.get(installation.wheel_version.split(".")[0])
        found = f"{distribution or 'unknown'}, wheels of rclpy {installation.wheel_version}"
        return ok(name, found) if distribution else warn(name, found, mend)
    distribution = environment.get("ROS_DISTRO", "")
    found = f"{distribution or 'unknown'}, installed with apt"
    return ok(name, found) if distribution in _DISTRIBUTIONS.values() else warn(name, found, mend)


def _only_one(environment: Mapping[str, str], installation: RosInstallation) -> Finding:
    name = "one ROS 2 only"
    try:
        refuse_mixed_ros(environment, installation.wheel_version is not None)
    except RosEnvironmentError as error:
        return fail_with(name, error)
    sourced = {match for value in environment.values() for match in re.findall(r"/opt/ros/(\w+)", value)}
    if len(sourced) > 1:
        return fail(name, f"{' and '.join(sorted(sourced))} are both sourced", "open a shell that sources one of them")
    return ok(name, "no other one is sourced")


def _middleware(environment: Mapping[str, str], installation: RosInstallation) -> Finding:
    name = "middleware"
    chosen = environment.get("RMW_IMPLEMENTATION", "")
    if chosen in _FAST_DDS:
        return ok(name, chosen or "rmw_fastrtps_cpp, the default")
    if installation.wheel_version is not None:
        return fail(name, f"RMW_IMPLEMENTATION is {chosen}", "the wheels hold Fast DDS only: unset RMW_IMPLEMENTATION")
    return warn(
        name,
        f"RMW_IMPLEMENTATION is {chosen}",
        "our transport profile is for Fast DDS: unset it, or trust only the image loop below",
    )


def _domain(environment: Mapping[str, str], domain_id: int) -> Finding:
    name = "domain"
    try:
        check_domain_id(domain_id)
    except RosEnvironmentError as error:
        return fail_with(name, error)
    discovery = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "")
    if discovery in ("LOCALHOST", "OFF"):
        return warn(
            name,
            f"{domain_id}, with ROS_AUTOMATIC_DISCOVERY_RANGE={discovery}",
            "unset it: it overrules transports without a word; our profile already keeps DDS on this machine",
        )
    return ok(name, str(domain_id))


def check_neighbours(node_names: tuple[str, ...], ours: tuple[str, ...]) -> Finding:
    """Who else is on the domain. Two graphs with the same names on one domain would drive each other's arm."""
    name = "nodes on the domain"
    twice = sorted({node for node in node_names if node_names.count(node) > 1})
    if twice:
        return fail(name, f"{', '.join(twice)} more than once", "end the second graph, or give it another domain_id")
    running = [node for node in ours if node in node_names]
    if running:
        return ok(name, f"our graph runs: {', '.join(running)}")
    return ok(name, ", ".join(sorted(node_names)) or "none yet")
