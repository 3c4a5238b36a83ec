"""How a node is told to swap bundles, and how it tells how far it is: one parameter, one service, one report."""

import dataclasses
import json
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from policy_server.runtime.successor import SwapState
from ros_nodes import diagnostics
from ros_nodes.diagnostics import Report
from ros_nodes.lifecycle import ManagedNode
from ros_nodes.parameters import ParameterSpec

NEXT_BUNDLE = "next_bundle"
STATE_SERVICE = "swap_state"
SWAP_PARAMETERS = (
    ParameterSpec("bundle", "", "folder of the policy's bundle; while it runs: of the one that runs", read_only=False),
    ParameterSpec(
        NEXT_BUNDLE,
        "",
        "folder of a bundle to make ready beside the running one; empty: drop that; see python -m ros_nodes.operate swap",
        read_only=False,
    ),
)


class Relay(Protocol):
    """The part of a policy that a node runs, and its change to another bundle."""

    @property
    def state(self) -> SwapState: ...

    def prepare(self, folder: str) -> None: ...

    def abandon(self) -> None: ...


class SwapPort:
    """The parameter ``next_bundle`` and the service ``~/swap_state`` (``SwapState`` as JSON) of a node.

    The parameter ``bundle`` follows the take-over, so that a node that is configured again comes back with the bundle that ran.
    """

    def __init__(self, node: ManagedNode) -> None:
        self._node = node
        self._relay: Relay | None = None
        self._lock = threading.Lock()
        self._follows = False
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def open(self, relay: Relay, lock: threading.Lock) -> None:
        """Serve; what the parameter holds already is prepared at once. ``lock``: held by whoever uses the relay."""
        self._relay, self._lock = relay, lock
        self._node.serve(Trigger, f"~/{STATE_SERVICE}", self._on_state)
        if self._node.values[NEXT_BUNDLE]:
            relay.prepare(self._node.values[NEXT_BUNDLE])

    def close(self) -> None:
        """Drop what is being prepared."""
        if self._relay is not None:
            self._relay.abandon()
        self._relay = None

    def taken_over(self, **values: str) -> None:
        """The relay has changed over: make these parameters, ``bundle`` among them, say so. Callable from any thread."""
        values[NEXT_BUNDLE] = ""
        self._node.values |= values
        if self._node.executor is not None:
            self._node.executor.create_task(self._tell, values)

    def report(self) -> Report:
        """For ``/diagnostics``; WARN where a bundle that was to take over has failed."""
        if self._relay is None:
            return Report("swap", diagnostics.OK, "")
        state = self._relay.state
        values = {"running": state.running, "stage": state.stage, "next": state.hash or state.folder or None}
        failed = state.stage == "failed"
        return Report("swap", diagnostics.WARN if failed else diagnostics.OK, state.detail or state.last, values)

    def _check(self, parameters: Sequence[Parameter[Any]]) -> SetParametersResult:
        names = {item.name for item in parameters}
        if "bundle" in names and not self._follows:
            return SetParametersResult(
                successful=False, reason=f"a running node changes its bundle through {NEXT_BUNDLE}"
            )
        if NEXT_BUNDLE in names and self._relay is None:
            return SetParametersResult(successful=False, reason="the node is not configured: no bundle runs")
        return SetParametersResult(successful=True)

    def _apply(self, parameters: Sequence[Parameter[Any]]) -> None:
        if self._follows or self._relay is None:
            return
        for item in parameters:
            if item.name == NEXT_BUNDLE:
                self._node.values[NEXT_BUNDLE] = item.value
                with self._lock:
                    self._relay.prepare(item.value) if item.value else self._relay.abandon()

    def _tell(self, values: dict[str, str]) -> None:
        self._follows = True
        try:
            self._node.set_parameters([Parameter(name, value=value) for name, value in values.items()])
        finally:
            self._follows = False

    def _on_state(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._relay is not None
        if self._relay is not None:
            response.message = json.dumps(dataclasses.asdict(self._relay.state))
        return response


def state_from(answer: Trigger.Response) -> SwapState:
    """What ``~/swap_state`` says."""
    return SwapState(**json.loads(answer.message))
