"""From a reflex back to ready with franka_ros2: acknowledge the errors, then start the controllers again."""

import threading
from typing import Any

from rclpy.action.client import ActionClient

from ros_nodes.lifecycle import ManagedNode
from ros_nodes.optional_messages import optional_messages

ACTION = "/action_server/error_recovery"
SWITCH = "/controller_manager/switch_controller"
CONTROLLERS = ("fr3_arm_controller",)
_STEP_S = 10.0


class FrankaRos2Recovery:
    """Runs the two steps in their order; the message packages are optional and looked for when it runs."""

    def __init__(self, node: ManagedNode) -> None:
        self._node = node

    def run(self) -> str:
        """What failed, in one line; "" when the arm is ready again. Blocks for some seconds, outside of callbacks."""
        return self._acknowledge() or self._restart_controllers()

    def _acknowledge(self) -> str:
        franka = optional_messages("franka_msgs.action")
        if franka is None:
            return "franka_msgs is not installed, so the error recovery cannot be asked for; recover in Desk"
        client: Any = ActionClient(self._node, franka.ErrorRecovery, ACTION)
        try:
            if not client.wait_for_server(_STEP_S):
                return f"the action {ACTION} does not answer: is franka_bringup running?"
            handle = _answer(client.send_goal_async(franka.ErrorRecovery.Goal()))
            if handle is None or not handle.accepted:
                return f"the action {ACTION} refuses: is the arm user stopped?"
            return (
                "" if _answer(handle.get_result_async()) is not None else f"{ACTION} did not end within {_STEP_S:.0f} s"
            )
        finally:
            client.destroy()

    def _restart_controllers(self) -> str:
        manager = optional_messages("controller_manager_msgs.srv")
        if manager is None:
            return "controller_manager_msgs is not installed, so the controllers cannot be started again; start them by hand"
        switch = manager.SwitchController
        client: Any = self._node.create_client(switch, SWITCH)
        try:
            for request in (
                switch.Request(deactivate_controllers=list(CONTROLLERS), strictness=1),
                switch.Request(activate_controllers=list(CONTROLLERS), strictness=2),
            ):
                answer = _answer(client.call_async(request)) if client.wait_for_service(_STEP_S) else None
                if answer is None or not answer.ok:
                    return f"{SWITCH} did not start {', '.join(CONTROLLERS)} again: see the controller manager's log"
            return ""
        finally:
            self._node.destroy_client(client)


def _answer(future: Any) -> Any:
    """A future's result, which the executor's thread brings; None when it takes too long."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    return future.result() if done.wait(_STEP_S) else None
