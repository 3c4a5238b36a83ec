"""A gripper behind the action control_msgs/GripperCommand, as franka_ros2's ``~/gripper_action``."""

import threading
import time
from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action.client import ActionClient

from ros_nodes.franka.backends.backend import BackendMissingError
from ros_nodes.lifecycle import ManagedNode
from ros_nodes.optional_messages import optional_messages

_SAME_WIDTH_M = 0.002
_MAX_EFFORT_N = 20.0
_RETRY_S = 1.0
_ACCEPT_S = 2.0
_RESULT_S = 10.0


class GripperAction:
    """Sends the newest width as a goal. A goal under way is left to end: a real hand needs over a second for each.

    A width that was not reached counts as never sent: asked for again, it is sent again, but not within a second.
    """

    def __init__(self, node: ManagedNode, name: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        """Raises BackendMissingError where control_msgs is not installed."""
        command = _gripper_command()
        self._node = node
        self._name = name
        self._clock_s = clock_s
        self._goal_type = command.Goal
        self._client: Any = ActionClient(node, command, name)
        self._lock = threading.RLock()  # widths come from a worker, answers from the executor's threads
        self._wanted_m: float | None = None
        self._sent_m: float | None = None
        self._awaited: Any = None
        self._answer_by_s = 0.0
        self._refused_m: float | None = None
        self._again_s = 0.0
        self._complaint = ""

    def move(self, width_m: float) -> None:
        """Ask for a distance between the fingers, m. Returns at once."""
        with self._lock:
            self._wanted_m = width_m
            self._send()

    def _send(self) -> None:
        if not self._client.server_is_ready():
            if self._awaited is not None:
                self._fail("its node is gone")
            self._sent_m = None  # whoever comes back does not know of it
            return
        if self._awaited is not None:
            if self._clock_s() < self._answer_by_s:
                return
            self._fail("it did not answer in time")
        wanted = self._wanted_m
        if wanted is None or _is_same(wanted, self._sent_m) or self._is_too_soon(wanted):
            return
        goal = self._goal_type()
        goal.command.position = wanted / 2  # of one finger
        goal.command.max_effort = _MAX_EFFORT_N
        self._sent_m = wanted
        self._await(self._client.send_goal_async(goal), _ACCEPT_S, self._accepted)

    def _await(self, future: Any, patience_s: float, then: Callable[[Any], None]) -> None:
        self._awaited, self._answer_by_s = future, self._clock_s() + patience_s
        future.add_done_callback(then)

    def _accepted(self, future: Any) -> None:
        with self._lock:
            if future is not self._awaited:
                return  # of a goal that was given up
            handle = _result_of(future)
            if handle is None:
                self._fail("the goal was lost")
            elif not handle.accepted:
                self._fail("it refuses the goal")
            else:
                self._await(handle.get_result_async(), _RESULT_S, self._ended)

    def _ended(self, future: Any) -> None:
        with self._lock:
            if future is not self._awaited:
                return
            answer = _result_of(future)
            if answer is None:
                self._fail("the goal's answer was lost")
            elif answer.status != GoalStatus.STATUS_SUCCEEDED:
                self._fail("the goal was aborted")
            else:
                self._awaited, self._complaint = None, ""
            self._send()

    def _is_too_soon(self, width_m: float) -> bool:
        """A policy says the same width ten times a second; a gripper that refuses it is not asked so often."""
        return _is_same(width_m, self._refused_m) and self._clock_s() < self._again_s

    def _fail(self, why: str) -> None:
        self._refused_m, self._again_s = self._sent_m, self._clock_s() + _RETRY_S
        self._awaited = self._sent_m = None
        if why != self._complaint:
            self._node.get_logger().warning(
                f"the gripper behind {self._name} was not brought to {self._refused_m:.3f} m: {why}; it is tried again when it is "
                "asked for again. See its driver's log; if it closed on an object, give franka_gripper a "
                "default_grasp_epsilon.outer of 0.08"
            )
        self._complaint = why


def _is_same(width_m: float, other_m: float | None) -> bool:
    return other_m is not None and abs(width_m - other_m) <= _SAME_WIDTH_M


def _result_of(future: Any) -> Any:
    """None where the answer was lost: rclpy raises, or has nothing, when the other side went away."""
    try:
        return future.result()
    except Exception:
        return None


def _gripper_command() -> Any:
    control = optional_messages("control_msgs.action")
    if control is None:
        raise BackendMissingError(
            "parameter 'gripper' is 'action', which needs control_msgs: install it (apt: ros-<distro>-control-msgs) or set gripper to "
            "'trajectory'"
        )
    return control.GripperCommand
