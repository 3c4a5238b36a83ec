"""Is a ROS domain free? Two graphs with the same names on one domain would drive each other's arm."""

import time
from collections.abc import Iterable

import rclpy
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions

from ros_nodes.errors import DomainInUseError

# Discovery over loopback takes about 0.1 s.
_DISCOVERY_S = 0.4


def nodes_on_domain(domain_id: int, wait_s: float = _DISCOVERY_S) -> list[str]:
    """Names of the nodes that answer on a domain within ``wait_s``."""
    context = Context()
    rclpy.init(context=context, domain_id=domain_id, signal_handler_options=SignalHandlerOptions.NO)
    try:
        probe = rclpy.create_node("domain_probe", context=context, enable_rosout=False, start_parameter_services=False)
        time.sleep(wait_s)
        names = [name for name in probe.get_node_names() if name != "domain_probe"]
        probe.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    return sorted(names)


def refuse_domain_in_use(domain_id: int, node_names: Iterable[str]) -> None:
    """Raises DomainInUseError when nodes of these names already run on the domain."""
    found = sorted(set(node_names) & set(nodes_on_domain(domain_id)))
    if found:
        raise DomainInUseError(
            f"domain {domain_id} is in use: {', '.join(found)} already run on it; end that graph or choose another domain_id"
        )
