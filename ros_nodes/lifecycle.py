"""The shell that the nodes share: lifecycle transitions that say what failed, and one clean way from start to exit."""

import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from policy_server.runtime.errors import PolicyError
from ros_nodes import diagnostics, environment
from ros_nodes.diagnostics import DiagnosticsPublisher, Report
from ros_nodes.parameters import ParameterSpec, declare_parameters

EXIT_OK = 0
EXIT_FAULT = 2
# A node that has not ended by then is stuck in foreign code; its starter waits for 3 s.
_HARD_EXIT_AFTER_S = 2.0

_SHARED_PARAMETERS = (
    ParameterSpec(
        "autostart", True, "configure and activate at start; false waits for lifecycle transitions from outside"
    ),
    ParameterSpec(
        "exit_on_error", False, "end the process with status 2 on an error; false waits unconfigured for an operator"
    ),
)


class ManagedNode(LifecycleNode):
    """A lifecycle node with four hooks; an exception in one is logged in one line and leads to the error state.

    ``open`` and ``close`` make and drop what lives while the node is configured, ``start`` and ``stop`` what runs while it is
    active. After an error the node has been stopped and closed, and is unconfigured again.
    """

    def __init__(self, name: str, parameters: Iterable[ParameterSpec]) -> None:
        super().__init__(name)
        try:
            self.values: dict[str, Any] = declare_parameters(self, (*parameters, *_SHARED_PARAMETERS))
        except PolicyError:
            self.destroy_node()
            raise
        self.finished = threading.Event()
        self.exit_status = EXIT_OK
        self._fault: Exception | None = None
        self._last_fault = ""
        self._is_open = False
        self._until_stopped: list[Callable[[], object]] = []
        self._until_closed: list[Callable[[], object]] = []
        self._diagnostics = DiagnosticsPublisher(self, self._all_reports)

    @property
    def is_active(self) -> bool:
        """Whether the node works: between ``start`` and ``stop``."""
        return bool(self._state_machine.current_state[1] == "active")

    def open(self) -> None:
        """Build the node's parts from ``self.values``; advertise and serve."""

    def start(self) -> None:
        """Begin to work: start threads, subscribe."""

    def stop(self) -> None:
        """End the work; called before ``close`` in every case. Must bear being called when not started."""

    def close(self) -> None:
        """Drop what ``open`` built. Must bear a half-done ``open``."""

    def reports(self) -> list[Report]:
        """What to say in ``/diagnostics`` while the node is configured."""
        return []

    def advertise(self, message_type: Any, topic: str, profile: QoSProfile) -> Publisher[Any]:
        """A publisher that lives until the node is closed."""
        publisher = self.create_publisher(message_type, topic, profile)
        self._until_closed.append(lambda: self.destroy_publisher(publisher))
        return publisher

    def serve(self, service_type: Any, name: str, callback: Callable[[Any, Any], Any]) -> None:
        """A service that lives until the node is closed."""
        service = self.create_service(service_type, name, callback)
        self._until_closed.append(lambda: self.destroy_service(service))

    def serve_reset(self, forget: Callable[[], None]) -> None:
        """``~/reset``: forget the episode."""

        def on_reset(_request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            forget()
            response.success, response.message = True, "ready for a new episode"
            return response

        self.serve(Trigger, "~/reset", on_reset)

    def subscribe(self, message_type: Any, topic: str, profile: QoSProfile, callback: Callable[[Any], None]) -> None:
        """A subscription that lives until the node is stopped."""
        subscription = self.create_subscription(message_type, topic, callback, profile)
        self._until_stopped.append(lambda: self.destroy_subscription(subscription))

    def fail(self, error: Exception) -> None:
        """Leave the active state because of ``error``; callable from any thread, returns at once."""
        if self._fault is not None:
            return
        self._record(error)
        if self.executor is not None:
            self.executor.create_task(self.trigger_deactivate)

    def autostart(self) -> None:
        """Configure and activate when the parameter says so; ends the process when that fails."""
        if not self.values["autostart"]:
            return
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                self._finish()
                return

    def end(self) -> None:
        """Stop and close, whatever the state."""
        self._stop()
        self._close()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._fault, self._last_fault = None, ""
        result = self._attempt(self.open)
        self._is_open = result == TransitionCallbackReturn.SUCCESS
        return result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt(self.start)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._attempt(self._stop)
        return result if self._fault is None else TransitionCallbackReturn.ERROR

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt(self._close)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._attempt(self.end)
        self.finished.set()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._attempt(self.end)
        self._diagnostics.publish()
        if self.values["exit_on_error"]:
            self._finish()
        return TransitionCallbackReturn.SUCCESS

    def _stop(self) -> None:
        self.stop()
        _call_all(self._until_stopped)

    def _close(self) -> None:
        self._is_open = False
        self.close()
        _call_all(self._until_closed)

    def _attempt(self, hook: Callable[[], None]) -> TransitionCallbackReturn:
        # rclpy turns an exception in a transition callback into ERROR and drops what it said.
        try:
            hook()
            return TransitionCallbackReturn.SUCCESS
        except Exception as error:
            self._record(error)
            return TransitionCallbackReturn.ERROR

    def _record(self, error: Exception) -> None:
        self._fault = error
        self._last_fault = one_line(error)
        self.get_logger().error(self._last_fault)
        if not isinstance(error, PolicyError):
            traceback.print_exception(error)

    def _finish(self) -> None:
        self.exit_status = EXIT_FAULT
        self.finished.set()

    def _all_reports(self) -> list[Report]:
        if self._last_fault:
            return [Report("state", diagnostics.ERROR, self._last_fault)]
        own = self.reports() if self._is_open else []
        return [Report("state", diagnostics.OK, self._state_machine.current_state[1]), *own]


def one_line(error: BaseException) -> str:
    """An exception as one line; unexpected ones with their class."""
    text = " ".join(str(error).split())
    return text if isinstance(error, PolicyError) else f"{type(error).__name__}: {text}"


def run_node(name: str, make_node: Callable[[], ManagedNode], arguments: Sequence[str] | None = None) -> int:
    """Run one node until SIGINT, SIGTERM or its own end, then end the process.

    A PolicyError on the way up is printed in one line and gives status 2; a signal gives 0 after the node's safe stop.
    """
    # A callback that wakes the worker otherwise keeps it waiting for up to 5 ms, until the interpreter switches threads.
    sys.setswitchinterval(0.0005)
    ended = threading.Event()
    _end_on_signal(ended)
    try:
        environment.prepare_process()
        rclpy.init(
            args=list(sys.argv if arguments is None else arguments), signal_handler_options=SignalHandlerOptions.NO
        )
        node = make_node()
    except (PolicyError, rclpy_implementation.RCLError, rclpy_implementation.RCLInvalidROSArgsError) as error:
        print(f"[ERROR] [{name}]: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        rclpy.try_shutdown()
        return EXIT_FAULT
    node.finished = ended
    status = EXIT_FAULT
    try:
        _live(node, ended)
        status = node.exit_status
    finally:
        node.destroy_node()
        del node
        leave_domain()
        rclpy.try_shutdown()
    _leave(status)


def leave_domain() -> None:
    """Take destroyed nodes off the network; call it when no reference to them is left but those in cycles.

    The DDS participant goes with the last reference to its node. A process that ends before dies with DDS threads at work, and
    one that held the lock of a shared-memory port then leaves its peers waiting for ever.
    """
    gc.collect()


def _leave(status: int) -> NoReturn:
    """End the process at once: the middleware's static destructors hang now and then while the interpreter is torn down."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _live(node: ManagedNode, ended: threading.Event) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    node.autostart()
    spinner = threading.Thread(target=_spin, args=(executor, node, ended), name="spin", daemon=True)
    spinner.start()
    ended.wait()
    executor.wake()
    spinner.join(timeout=1.0)
    node.end()
    executor.shutdown()


def _spin(executor: SingleThreadedExecutor, node: ManagedNode, ended: threading.Event) -> None:
    try:
        while not ended.is_set():
            executor.spin_once(timeout_sec=0.1)  # a wake that comes between two spins is lost
    except Exception as error:
        # A callback that raises would otherwise leave a node that is alive and deaf.
        node._record(error)
        node._finish()


def _call_all(callbacks: list[Callable[[], object]]) -> None:
    while callbacks:
        callbacks.pop()()


def _end_on_signal(ended: threading.Event) -> None:
    def handle(_number: int, _frame: object) -> None:
        _exit_hard_later()
        ended.set()

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)


def _exit_hard_later() -> None:
    timer = threading.Timer(_HARD_EXIT_AFTER_S, os._exit, args=(EXIT_FAULT,))
    timer.daemon = True
    timer.start()
