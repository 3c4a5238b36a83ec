"""What the nodes say about themselves: ``/diagnostics`` once a second, ``policy/timing`` once a tick."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node

from ros_nodes import qos, topics
from ros_nodes.messages import ns_to_stamp

OK: bytes = DiagnosticStatus.OK
WARN: bytes = DiagnosticStatus.WARN
ERROR: bytes = DiagnosticStatus.ERROR

Value: TypeAlias = int | float | str | None


@dataclass(frozen=True)
class Report:
    """One line of ``/diagnostics``: a level, what is the matter, and numbers."""

    name: str
    level: bytes
    message: str
    values: Mapping[str, Value] = field(default_factory=dict)


class DiagnosticsPublisher:
    """Publishes a node's reports at 1 Hz, in every lifecycle state.

    The timer follows the steady clock: simulated time stands still exactly when something is wrong.
    """

    def __init__(self, node: Node, reports: Callable[[], list[Report]]) -> None:
        self._node = node
        self._reports = reports
        self._publisher = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.DIAGNOSTICS)
        self._timer = node.create_timer(1.0, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self) -> None:
        """Publish now, e.g. when a fault should not wait for the next second."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status = [_to_status(report, self._node.get_name()) for report in self._reports()]
        self._publisher.publish(message)


class TimingPublisher:
    """Publishes when a tick's input arrived and its output left, in wall time, from which latencies are computed."""

    def __init__(self, node: Node) -> None:
        self._name = node.get_name()
        self._publisher = node.create_publisher(DiagnosticArray, topics.TIMING, qos.TIMING)

    def publish(self, stamp_ns: int, received_ns: int, published_ns: int, network_ns: int) -> None:
        """Say it for the tick whose observation is stamped ``stamp_ns``; ``network_ns`` is the share of the network call."""
        values = {"received_ns": received_ns, "published_ns": published_ns, "network_ns": network_ns}
        message = DiagnosticArray(status=[_to_status(Report("timing", OK, "", values), self._name)])
        message.header.stamp = ns_to_stamp(stamp_ns)
        self._publisher.publish(message)


def _to_status(report: Report, node_name: str) -> DiagnosticStatus:
    values = [KeyValue(key=key, value=_to_text(value)) for key, value in report.values.items()]
    return DiagnosticStatus(
        level=report.level,
        name=f"{node_name}: {report.name}",
        message=report.message,
        hardware_id=node_name,
        values=values,
    )


def _to_text(value: Value) -> str:
    if value is None:
        return "none"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
