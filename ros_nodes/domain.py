"""Is a ROS domain free? Two graphs with the same names on one domain would drive each other's arm."""

import fcntl
import gc
import os
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions

from ros_nodes.errors import DomainInUseError

# Names of nodes arrive 0.2 to 0.4 s after the first look at an idle machine.
_DISCOVERY_S = 0.8
_PROBE = "domain_probe"


@contextmanager
def claimed_domain(domain_id: int, folder: Path | None = None) -> Iterator[None]:
    """Hold a domain against other graphs that are started on this machine.

    Raises:
        DomainInUseError: another starter holds it.
    """
    path = (folder or Path(tempfile.gettempdir())) / f"long_context_policy_domain_{domain_id}"
    # Another user's file may be read but, in /tmp, not opened for creation.
    descriptor = os.open(path, os.O_RDONLY) if path.exists() else os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        _lock(descriptor, domain_id)
        yield
    finally:
        os.close(descriptor)


def refuse_domain_in_use(domain_id: int, node_names: Collection[str], wait_s: float = _DISCOVERY_S) -> None:
    """Look for nodes of these names on a domain, however they were started.

    Raises:
        DomainInUseError: one of them answers within ``wait_s``.
    """
    context = Context()
    rclpy.init(context=context, domain_id=domain_id, signal_handler_options=SignalHandlerOptions.NO)
    try:
        probe = rclpy.create_node(_PROBE, context=context, enable_rosout=False, start_parameter_services=False)
        deadline_s = time.monotonic() + wait_s
        found: set[str] = set()
        while not found and time.monotonic() < deadline_s:
            time.sleep(0.05)
            found = set(node_names) & set(probe.get_node_names())
        probe.destroy_node()
        del probe
    finally:
        # The probe's DDS participant goes with the last reference to it, which lies in a cycle.
        gc.collect()
        rclpy.shutdown(context=context)
    if found:
        raise DomainInUseError(_in_use(domain_id, f"{', '.join(sorted(found))} already run on it"))


def _lock(descriptor: int, domain_id: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DomainInUseError(_in_use(domain_id, "another graph runs on it")) from None


def _in_use(domain_id: int, by: str) -> str:
    return f"domain {domain_id} is in use: {by}; end that graph or choose another domain_id"
