"""The process environment of a ROS 2 graph: DDS profile, domain, log folder, and which ROS 2 is in use.

Everything here happens before rclpy starts. ROS 2 comes either from an apt installation (a sourced ``/opt/ros/<distro>``) or from
the wheels on PyPI; the two cannot share a process.
"""

import fcntl
import importlib.metadata
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from policy_server.runtime.resources import resource
from ros_nodes.errors import RosEnvironmentError

DOMAIN_IDS = range(102)
_PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
# Fast DDS 2, up to Jazzy, reads the older name; Fast DDS 3 complains about it.
_OLD_PROFILE_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
_DISTROS_WITH_FAST_DDS_2 = ("humble", "iron", "jazzy")
_BOOTSTRAP_GUARD = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"
_PATH_VARIABLES = ("AMENT_PREFIX_PATH", "PYTHONPATH", "LD_LIBRARY_PATH")


def uses_wheels() -> bool:
    """Whether ROS 2 comes from the wheels of this Python environment."""
    return importlib.util.find_spec("ros_wheels_bootstrapper") is not None


def refuse_mixed_ros(environment: Mapping[str, str], wheels: bool) -> None:
    """Raises RosEnvironmentError when an apt ROS 2 is sourced in an environment that holds the wheels."""
    if not wheels:
        return
    for variable in _PATH_VARIABLES:
        found = re.search(r"/opt/ros/\w+", environment.get(variable, ""))
        if found:
            raise RosEnvironmentError(
                f"{variable} names {found.group()} while this Python environment holds the ROS 2 wheels: open a shell that has not "
                "sourced setup.bash, or use an environment without the wheels"
            )


def check_domain_id(domain_id: int) -> None:
    """Raises RosEnvironmentError for an id whose ports would collide with those that the system hands out."""
    if domain_id not in DOMAIN_IDS:
        raise RosEnvironmentError(
            f"domain id {domain_id} is not between {DOMAIN_IDS[0]} and {DOMAIN_IDS[-1]}: choose one that is"
        )


def graph_environment(domain_id: int, parent: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables that every process of a graph has, beyond those of its parent.

    A DDS profile or log folder that the user has chosen stays.

    Raises:
        RosEnvironmentError: the domain id is out of range.
        ConfigurationError: the DDS profile is not installed.
    """
    check_domain_id(domain_id)
    parent = os.environ if parent is None else parent
    variables = {"ROS_DOMAIN_ID": str(domain_id), "PYTHONUNBUFFERED": "1", **_unset(parent, _log_folder(parent))}
    if _PROFILE_VARIABLE not in parent and _OLD_PROFILE_VARIABLE not in parent:
        variables[_profile_variable(parent)] = str(resource("config/fastdds_profile.xml"))
    if uses_wheels():
        prefixes = [sys.prefix, *parent.get("AMENT_PREFIX_PATH", "").split(os.pathsep)]
        variables["AMENT_PREFIX_PATH"] = os.pathsep.join(dict.fromkeys(prefix for prefix in prefixes if prefix))
    return variables


def child_environment(parent: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a node's process: the parent's with ``variables``, without what the wheels' start-up put into it.

    The wheels restart Python once to set the library path and mark that with a guard. A child that inherited the guard from
    another environment would run with that one's libraries.
    """
    environment = {**parent, **variables}
    environment.pop(_BOOTSTRAP_GUARD, None)
    libraries = [entry for entry in environment.pop("LD_LIBRARY_PATH", "").split(os.pathsep) if entry]
    kept = [entry for entry in libraries if not _belongs_to_wheels(entry, libraries)]
    if kept:
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(kept)
    return environment


def prepare_process(environment: MutableMapping[str, str] | None = None) -> None:
    """Set up this very process as a member of a graph; for nodes started by hand. What is already set stays.

    Raises:
        RosEnvironmentError: mixed ROS installations, or ``ROS_DOMAIN_ID`` is not a usable number.
    """
    environment = os.environ if environment is None else environment
    refuse_mixed_ros(environment, uses_wheels())
    for name, value in graph_environment(domain_id_of(environment), environment).items():
        environment[name] = value


def domain_id_of(environment: Mapping[str, str]) -> int:
    """``ROS_DOMAIN_ID`` where it is set, else 0.

    Raises:
        RosEnvironmentError: it is not a number.
    """
    text = environment.get("ROS_DOMAIN_ID", "") or "0"
    if not text.isdecimal():
        raise RosEnvironmentError(
            f"ROS_DOMAIN_ID is '{text}': set it to a number between {DOMAIN_IDS[0]} and {DOMAIN_IDS[-1]}"
        )
    return int(text)


def clean_shared_memory(folder: Path = Path("/dev/shm")) -> list[Path]:
    """Remove Fast DDS files that dead processes left in shared memory; returns what was removed.

    Fast DDS holds a lock on ``<name>_el`` (or shares one on ``<name>_sl``) for as long as ``<name>`` is in use.
    """
    removed: list[Path] = []
    for lock in [*folder.glob("fastdds_*_el"), *folder.glob("fastdds_*_sl")]:
        name = lock.name[: -len("_el")]
        siblings = [folder / f"{name}{suffix}" for suffix in ("_el", "_sl")]
        if all(_is_unlocked(sibling) for sibling in siblings):
            for file in [folder / name, folder / f"sem.{name}_mutex", *siblings]:
                if file.exists():
                    file.unlink(missing_ok=True)
                    removed.append(file)
    return removed


def _profile_variable(parent: Mapping[str, str]) -> str:
    if uses_wheels():
        old = importlib.metadata.version("ros-fastdds").startswith("2.")
    else:
        old = parent.get("ROS_DISTRO") in _DISTROS_WITH_FAST_DDS_2
    return _OLD_PROFILE_VARIABLE if old else _PROFILE_VARIABLE


def _log_folder(parent: Mapping[str, str]) -> dict[str, str]:
    if "ROS_HOME" in parent or os.access(parent.get("HOME", ""), os.W_OK):
        return {}
    return {"ROS_LOG_DIR": str(Path(tempfile.gettempdir()) / f"ros_log_{os.getuid()}")}


def _unset(parent: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name not in parent}


def _belongs_to_wheels(entry: str, entries: list[str]) -> bool:
    bundled = re.compile(r"/lib/python[\d.]+/site-packages/ros_\w+\.libs/?$")
    prefixes = {bundled.sub("", other) for other in entries if bundled.search(other)}
    return bool(bundled.search(entry)) or any(entry.rstrip("/") == f"{prefix}/lib" for prefix in prefixes)


def _is_unlocked(lock: Path) -> bool:
    """Whether nobody holds the lock file; a file of another user counts as held."""
    try:
        with lock.open("rb+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except FileNotFoundError:
        return True
    except OSError:
        return False
