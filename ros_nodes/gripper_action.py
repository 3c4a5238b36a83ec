"""A gripper behind the action control_msgs/GripperCommand, as franka_ros2's ``~/gripper_action``."""

from typing import Any

from rclpy.action.client import ActionClient

from ros_nodes.franka.backends.backend import BackendMissingError
from ros_nodes.lifecycle import ManagedNode
from ros_nodes.optional_messages import optional_messages

_SAME_WIDTH_M = 0.002
_MAX_EFFORT_N = 20.0


class GripperAction:
    """Sends the newest width as a goal. A goal under way is left to end: a real hand needs over a second for each."""

    def __init__(self, node: ManagedNode, name: str) -> None:
        """Raises BackendMissingError where control_msgs is not installed."""
        command = _gripper_command()
        self._node = node
        self._goal_type = command.Goal
        self._client: Any = ActionClient(node, command, name)
        self._sent_m: float | None = None
        self._wanted_m: float | None = None
        self._busy = False

    def move(self, width_m: float) -> None:
        """Ask for a distance between the fingers, m. Returns at once."""
        self._wanted_m = width_m
        self._send()

    def _send(self) -> None:
        wanted = self._wanted_m
        if wanted is None or self._busy or not self._client.server_is_ready():
            return
        if self._sent_m is not None and abs(wanted - self._sent_m) <= _SAME_WIDTH_M:
            return
        goal = self._goal_type()
        goal.command.position = wanted / 2  # of one finger
        goal.command.max_effort = _MAX_EFFORT_N
        self._busy, self._sent_m = True, wanted
        self._client.send_goal_async(goal).add_done_callback(self._accepted)

    def _accepted(self, future: Any) -> None:
        handle = future.result()
        if not handle.accepted:
            self._node.get_logger().warning("the gripper refuses a goal: see its driver's log")
            self._busy = False
            return
        handle.get_result_async().add_done_callback(self._ended)

    def _ended(self, _future: Any) -> None:
        self._busy = False
        self._send()


def _gripper_command() -> Any:
    control = optional_messages("control_msgs.action")
    if control is None:
        raise BackendMissingError(
            "parameter 'gripper' is 'action', which needs control_msgs: install it (apt: ros-<distro>-control-msgs) or set gripper to "
            "'trajectory'"
        )
    return control.GripperCommand
