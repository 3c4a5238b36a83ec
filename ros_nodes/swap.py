"""The sequence in which a running graph changes to another bundle; ``python -m ros_nodes.operate swap FOLDER`` runs it."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from policy_server.runtime.successor import SwapError, SwapState
from ros_nodes.swap_port import NEXT_BUNDLE, STATE_SERVICE, state_from
from ros_nodes.visitor import Visitor

HISTORY, INFERENCE, ARM = "history_node", "inference_node", "arm_node"
_ANNOUNCED = "next_bundle_hash"
_ANSWER_S = 5.0
_REPEAT_S = 1.0  # a server that does not know its client yet drops the answer; every request here may be asked twice
_LOOK_AGAIN_S = 0.1


def swap(
    visitor: Visitor, folder: Path, patience_s: float, say: Callable[[str], object], *, with_arm: bool = True
) -> None:
    """Make a bundle ready in both nodes, announce it to the arm, and let it take over.

    ``patience_s``: for making it ready, and again for the take-over. ``say`` is told each stage. When anything fails before the
    memory has changed over, also on Ctrl-C, everything is taken back. ``with_arm`` false: the graph has no arm_node.

    Raises:
        SwapError: a node does not answer, or refuses; the running bundle goes on.
    """
    graph = _Graph(visitor, with_arm)
    _check_agree({node: graph.state(node).running for node in (HISTORY, INFERENCE)}, "runs")
    new_hash = ""
    try:
        for node in (HISTORY, INFERENCE):
            graph.set(node, NEXT_BUNDLE, str(folder.absolute()))
        ready = graph.wait(say, patience_s, lambda state: state.stage == "ready", "the bundle ready")
        new_hash = _check_agree({node: state.hash for node, state in ready.items()}, "has read")
        graph.announce(new_hash)
        answer = graph.ask(Trigger, f"{HISTORY}/swap", Trigger.Request())
        # A first answer that was lost makes the second one a refusal: it has happened already.
        if not answer.success and graph.state(HISTORY).running != new_hash:
            raise SwapError(f"{HISTORY} refuses: {answer.message}")
        graph.wait(
            say, patience_s, lambda state: state.running == new_hash, "changed: do frames and joint states arrive?"
        )
    except BaseException:
        graph.take_back(new_hash)
        raise


def _check_agree(hashes: dict[str, str], does: str) -> str:
    """The hash that both nodes give. Raises SwapError."""
    if len(set(hashes.values())) > 1:
        both = ", ".join(f"{node} {does} bundle {bundle_hash[:12]}" for node, bundle_hash in hashes.items())
        raise SwapError(f"{both}: wait until another swap is over and the folder is complete, then swap again")
    return hashes[HISTORY]


class _Graph:
    """Questions to the nodes of a running graph, with one client per service."""

    def __init__(self, visitor: Visitor, with_arm: bool) -> None:
        self._visitor = visitor
        self._with_arm = with_arm
        self._clients: dict[str, Any] = {}

    def ask(self, definition: Any, service: str, request: Any) -> Any:
        """The answer of a service. Raises SwapError without one."""
        client = self._clients.get(service)
        if client is None:
            client = self._clients[service] = self._visitor.node.create_client(definition, f"/{service}")
        deadline_s = time.monotonic() + _ANSWER_S
        futures: list[Any] = []
        while (left_s := deadline_s - time.monotonic()) > 0:
            if not self._visitor.turn(left_s, client.service_is_ready):
                break
            futures.append(client.call_async(request))
            if self._visitor.turn(min(left_s, _REPEAT_S), lambda: any(future.done() for future in futures)):
                return next(future for future in futures if future.done()).result()
        raise SwapError(
            f"{service} does not answer within {_ANSWER_S:.0f} s: does the graph run on this domain, and is the node active?"
            + (" For a graph without an arm: --without-arm" if service.startswith(ARM) else "")
        )

    def set(self, node: str, name: str, value: str) -> None:
        """Set a parameter. Raises SwapError with the node's reason."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        result = self.ask(SetParameters, f"{node}/set_parameters", request).results[0]
        if not result.successful:
            raise SwapError(f"{node} refuses: {result.reason}")

    def announce(self, bundle_hash: str) -> None:
        """Tell the arm which bundle may follow; "" takes it back. Raises SwapError."""
        if self._with_arm:
            self.set(ARM, _ANNOUNCED, bundle_hash)

    def state(self, node: str) -> SwapState:
        """How far a node is. Raises SwapError."""
        answer = self.ask(Trigger, f"{node}/{STATE_SERVICE}", Trigger.Request())
        if not answer.success:
            raise SwapError(f"{node} runs no bundle: is it active?")
        return state_from(answer)

    def wait(
        self, say: Callable[[str], object], patience_s: float, done: Callable[[SwapState], bool], what: str
    ) -> dict[str, SwapState]:
        """The states of both nodes once both are ``done``. Raises SwapError when one fails or it takes too long."""
        deadline_s = time.monotonic() + patience_s
        said: dict[str, str] = {}
        while True:
            states = {node: self.state(node) for node in (HISTORY, INFERENCE)}
            for node, state in states.items():
                line = _described(state)
                if said.get(node) != line:
                    said[node] = line
                    say(f"{node}: {line}")
                if state.stage == "failed":
                    raise SwapError(f"{node}: {state.detail}; the running bundle goes on")
            if all(done(state) for state in states.values()):
                return states
            if time.monotonic() > deadline_s:
                late = ", ".join(node for node, state in states.items() if not done(state))
                raise SwapError(f"after {patience_s:.0f} s {late} has not {what}")
            self._visitor.turn(_LOOK_AGAIN_S)

    def take_back(self, new_hash: str) -> None:
        """As it was, unless the memory has changed over: then the others must follow. What fails here is not told: what was first is."""
        with contextlib.suppress(SwapError):
            self.set(HISTORY, NEXT_BUNDLE, "")
            if self.state(HISTORY).running == new_hash:
                return
            self.set(INFERENCE, NEXT_BUNDLE, "")
            self.announce("")


def _described(state: SwapState) -> str:
    if state.stage == "none":
        return state.last or f"runs {state.running[:12]}"
    return state.stage + (f", {state.detail}" if state.detail else "")
