"""Look after the adapters of a running graph: ``python -m ros_nodes.adapters list``.

A user's view of ``inference_node``'s service ``~/list_adapters`` and of its parameters ``adapters`` and ``adapter``.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rclpy
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from policy_server.runtime.command import run_command
from policy_server.runtime.errors import PolicyError
from ros_nodes.environment import prepare_process
from ros_nodes.lifecycle import leave_domain

_REPEAT_S = 1.0  # a server that does not know its client yet drops the answer; every request here may be asked twice


class AdapterCommandError(PolicyError):
    """The node does not answer, or refuses what it was asked for."""


class InferenceClient:
    """Calls to one inference node."""

    def __init__(self, node: Node, executor: SingleThreadedExecutor, name: str, timeout_s: float) -> None:
        self._node = node
        self._executor = executor
        self._name = name
        self._timeout_s = timeout_s

    def shelf(self) -> dict[str, Any]:
        """What ``~/list_adapters`` says: base, active, wanted, adapters."""
        answer = self._call(Trigger, "list_adapters", Trigger.Request())
        return json.loads(answer.message)  # type: ignore[no-any-return]

    def set(self, **values: str) -> None:
        """Set parameters, all or none; raises AdapterCommandError with the node's reason."""
        request = SetParametersAtomically.Request()
        request.parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        result = self._call(SetParametersAtomically, "set_parameters_atomically", request).result
        if not result.successful:
            raise AdapterCommandError(f"{self._name} refuses: {result.reason}")

    def wait(self, done: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
        """The shelf as soon as it is ``done``; raises AdapterCommandError when an adapter fails or it takes too long."""
        deadline_s = time.monotonic() + self._timeout_s
        while True:
            shelf = self.shelf()
            if done(shelf):
                return shelf
            for adapter in shelf["adapters"]:
                if adapter["state"] == "failed":
                    raise AdapterCommandError(f"{self._name} cannot load '{adapter['name']}': {adapter['reason']}")
            if time.monotonic() > deadline_s:
                raise AdapterCommandError(
                    f"{self._name} is still loading after {self._timeout_s:.0f} s: ask again later"
                )
            self._executor.spin_once(timeout_sec=0.05)

    def _call(self, service: Any, name: str, request: Any) -> Any:
        client: Any = self._node.create_client(service, f"{self._name}/{name}")
        deadline_s = time.monotonic() + self._timeout_s
        futures: list[Any] = []
        try:
            while time.monotonic() < deadline_s:
                if client.service_is_ready():
                    futures.append(client.call_async(request))
                again_s = time.monotonic() + (_REPEAT_S if futures else 0.05)
                while time.monotonic() < again_s:
                    self._executor.spin_once(timeout_sec=0.05)
                    for future in futures:
                        if future.done():
                            return future.result()
        finally:
            self._node.destroy_client(client)
        raise AdapterCommandError(
            f"no answer of {self._name}/{name} within {self._timeout_s:.0f} s: is the graph running, on this ROS_DOMAIN_ID, "
            "and its inference node configured?"
        )


def main() -> int:
    arguments = _parse()
    with connected(arguments.node, arguments.timeout) as client:
        if arguments.action == "load":
            _load(client, [_absolute(file) for file in arguments.files], arguments.activate)
        elif arguments.action == "activate":
            client.set(adapter=arguments.name)
            client.wait(lambda shelf: shelf["active"] == arguments.name)
        elif arguments.action == "deactivate":
            client.set(adapter="")
        elif arguments.action == "drop":
            _drop(client, arguments.names)
        print(_table(client.shelf(), arguments.node))
    return 0


def _load(client: InferenceClient, files: Sequence[str], activate: bool) -> None:
    before = _files(client.shelf())
    client.set(adapters=",".join(dict.fromkeys([*before.values(), *files])))
    shelf = client.wait(lambda shelf: all(adapter["state"] == "ready" for adapter in shelf["adapters"]))
    if activate:
        name = next(name for name, file in _files(shelf).items() if file == files[-1])
        client.set(adapter=name)
        client.wait(lambda shelf: shelf["active"] == name)


def _drop(client: InferenceClient, names: Sequence[str]) -> None:
    files = _files(client.shelf())
    for name in names:
        if name not in files:
            raise AdapterCommandError(f"no adapter '{name}' is loaded; loaded: {', '.join(files) or 'none'}")
    client.set(adapters=",".join(file for name, file in files.items() if name not in names))


def _files(shelf: Mapping[str, Any]) -> dict[str, str]:
    return {adapter["name"]: adapter["file"] for adapter in shelf["adapters"]}


def _absolute(file: Path) -> str:
    """The node may run in another folder."""
    path = str(file.absolute())
    if "," in path:
        raise AdapterCommandError(f"'{path}' has a comma in it, which separates files: rename it")
    return path


def _table(shelf: Mapping[str, Any], node: str) -> str:
    lines = [f"base policy {shelf['base'][:12]}"]
    for adapter in shelf["adapters"]:
        state = "active" if adapter["name"] == shelf["active"] else adapter["state"]
        size = f"rank {adapter['rank']}, {adapter['layers']} layers, {adapter['parameters']} numbers"
        lines.append(f"{adapter['name']:<20} {state:<8} {size}  {adapter['file']}")
    active = f"adapter '{shelf['active']}'" if shelf["active"] else "the base policy"
    return "\n".join([*lines, f"{node} samples with {active}"])


@contextmanager
def connected(node_name: str = "inference_node", timeout_s: float = 20.0) -> Iterator[InferenceClient]:
    """A client of the node of this name on this process's ROS domain."""
    prepare_process()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("adapters_command")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        yield InferenceClient(node, executor, node_name, timeout_s)
    finally:
        executor.remove_node(node)
        executor.shutdown()
        node.destroy_node()
        del node, executor
        leave_domain()
        rclpy.try_shutdown()


def _parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ros_nodes.adapters",
        description="List, load, activate and drop the adapters of a running graph. A change takes effect with the next sampled chunk.",
        epilog="example: python -m ros_nodes.adapters load adapters/moved_camera.safetensors --activate",
    )
    parser.add_argument("--node", default="inference_node", help="name of the node (default inference_node)")
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds to wait for it (default 20)")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="what is loaded, and what is active")
    load = actions.add_parser("load", help="read adapter files and make them ready; those loaded before stay")
    load.add_argument("files", type=Path, nargs="+", help="files that python -m policy_server.lora export wrote")
    load.add_argument("--activate", action="store_true", help="activate the last one when it is ready")
    activate = actions.add_parser("activate", help="sample with this adapter from the next chunk on")
    activate.add_argument("name", help="name of a loaded adapter")
    actions.add_parser("deactivate", help="sample with the base policy from the next chunk on")
    drop = actions.add_parser("drop", help="forget adapters; the active one is refused")
    drop.add_argument("names", nargs="+", help="names of loaded adapters")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run_command(main))
