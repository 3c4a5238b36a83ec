"""A node that joins a domain for a moment, for commands that look or ask: ``with visit(domain_id, "doctor") as visitor``."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

_REPEAT_S = 1.0


class Visitor:
    """A node on a domain, and its turns. Nothing is received between two turns."""

    def __init__(self, node: Node, executor: SingleThreadedExecutor) -> None:
        self.node = node
        self._executor = executor

    def turn(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Receive for so long, or until the condition holds; returns whether it does."""
        deadline_s = time.monotonic() + seconds
        while not until() and (left_s := deadline_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left_s, 0.05))
        return until()

    def ask(self, definition: Any, service: str, request: Any, seconds: float, *, again: bool = True) -> Any:
        """The answer of a service within so long, or None.

        A server that does not know its client yet drops the first answer; ``again`` asks anew every second, for services
        that may be called twice.
        """
        client: Any = self.node.create_client(definition, service)
        deadline_s = time.monotonic() + seconds
        if not self.turn(seconds, client.service_is_ready):
            return None
        self.turn(min(0.2, seconds))
        futures: list[Any] = []
        while (left_s := deadline_s - time.monotonic()) > 0:
            futures.append(client.call_async(request))
            if self.turn(min(left_s, _REPEAT_S) if again else left_s, lambda: any(future.done() for future in futures)):
                return next(future for future in futures if future.done()).result()
        return None


@contextmanager
def visit(domain_id: int, name: str) -> Iterator[Visitor]:
    """A node of this name on a domain, gone again at the end."""
    context = Context()
    rclpy.init(args=[], context=context, domain_id=domain_id, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(name, context=context, enable_rosout=False, start_parameter_services=False)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    visitor = Visitor(node, executor)
    try:
        yield visitor
    finally:
        executor.shutdown()
        node.destroy_node()
        del node, executor, visitor.node
        # The DDS participant goes with the last reference to its node, which lies in a cycle.
        gc.collect()
        rclpy.shutdown(context=context)
