"""What an operator tells the graph: ``python -m ros_nodes.operate arm|pause|stop|recover|state|swap``.

For machines without ``ros2 service call``; it calls the same services of the nodes.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from std_srvs.srv import Trigger

from policy_server.runtime.command import run_command
from ros_nodes import qos, topics
from ros_nodes.environment import prepare_process
from ros_nodes.errors import GraphError
from ros_nodes.graph import default_domain_id
from ros_nodes.swap import swap
from ros_nodes.visitor import Visitor, visit

COMMANDS = {
    "arm": "let the next chunk move the arm",
    "pause": "come to rest and hold until armed again",
    "stop": "come to rest and stay so until recovered and armed",
    "recover": "after a stop or a reflex: recover the robot and forget what was before; starts no motion",
    "state": "say what the arm does, and why",
    "swap": "change to another bundle while the arm moves: swap FOLDER; see docs/hot_swap.md",
}
_ARM_NODE = "arm_node"
_ANSWER_S = 5.0
# The robot's own recovery and the controllers' restart take seconds.
_RECOVER_S = 40.0
# Diagnostics come once a second.
_STATE_S = 4.0


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parse(arguments)
    prepare_process()
    with visit(given.domain_id, "operator") as visitor:
        if given.command == "state":
            print(state(visitor))
            return 0
        if given.command == "swap":
            say = partial(print, flush=True)
            swap(visitor, given.bundle, given.patience_s, say, with_arm=not given.without_arm)
            print(f"swap: '{given.bundle}' has taken over; adapters of the bundle before do not go with it")
            return 0
        succeeded, message = command(visitor, given.command)
    print(f"{given.command}: {message}" if succeeded else f"refused: {message}")
    return 0 if succeeded else 1


def command(visitor: Visitor, name: str) -> tuple[bool, str]:
    """Call one of arm_node's services; returns whether it obeyed, and what it says. Raises GraphError without an answer."""
    recovers = name == "recover"
    seconds = _RECOVER_S if recovers else _ANSWER_S
    answer = visitor.ask(Trigger, f"/{_ARM_NODE}/{name}", Trigger.Request(), seconds, again=not recovers)
    if answer is None:
        raise GraphError(
            f"{_ARM_NODE}/{name} does not answer within {seconds:.0f} s: does the graph run on this domain, and is {_ARM_NODE} active?"
        )
    return bool(answer.success), str(answer.message)


def state(visitor: Visitor) -> str:
    """What arm_node reports of arm and guard, one line each. Raises GraphError when it says nothing."""
    reports: dict[str, DiagnosticStatus] = {}

    def take(message: DiagnosticArray) -> None:
        reports.update({status.name: status for status in message.status if status.hardware_id == _ARM_NODE})

    visitor.node.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, take, qos.DIAGNOSTICS)
    if not visitor.turn(_STATE_S, lambda: bool(reports)):
        raise GraphError(f"{_ARM_NODE} reports nothing within {_STATE_S:.0f} s: does the graph run on this domain?")
    return "\n".join(f"{status.name.partition(': ')[2]}: {status.message}" for status in reports.values())


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ros_nodes.operate",
        description="Tells a running graph what it may do. Not an emergency stop: that is the switch in your hand.",
        epilog="".join(f"  {name:<8} {about}\n" for name, about in COMMANDS.items())
        + "\nExit status 1 when the arm refuses. example: python -m ros_nodes.operate arm\n"
        + "example: python -m ros_nodes.operate swap bundles/reach_cued_new\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("bundle", type=Path, nargs="?", help="folder of the bundle to change to; for swap alone")
    parser.add_argument(
        "--patience-s", type=float, default=120.0, help="longest time for a bundle to be ready in a swap (default 120)"
    )
    parser.add_argument("--without-arm", action="store_true", help="swap in a graph that has no arm_node")
    parser.add_argument(
        "--domain-id", type=int, default=default_domain_id(), help="as the graph's (ROS_DOMAIN_ID, else 0)"
    )
    given = parser.parse_args(arguments)
    if (given.command == "swap") != (given.bundle is not None):
        parser.error("swap takes the folder of a bundle, the other commands take none")
    return given


if __name__ == "__main__":
    raise SystemExit(run_command(main))
