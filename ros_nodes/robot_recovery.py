"""From a reflex back to ready with franka_ros2: acknowledge the errors, then start the controllers again."""

import threading
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action.client import ActionClient

from ros_nodes.franka.backends.backend import RecoveryError
from ros_nodes.lifecycle import ManagedNode
from ros_nodes.optional_messages import optional_messages

ACTION = "/action_server/error_recovery"
SWITCH = "/controller_manager/switch_controller"
CONTROLLERS = ("fr3_arm_controller",)
_STEP_S = 10.0
_ENDINGS = {GoalStatus.STATUS_ABORTED: "aborted", GoalStatus.STATUS_CANCELED: "canceled"}


class FrankaRos2Recovery:
    """Runs the two steps in their order; the message packages are optional and looked for when it runs."""

    def __init__(self, node: ManagedNode) -> None:
        self._node = node

    def run(self) -> None:
        """Afterwards the arm is ready again. Blocks for some seconds, outside of callbacks.

        Raises:
            RecoveryError: names the step that failed and what to do about it; the steps after it were not tried.
        """
        self._acknowledge()
        self._restart_controllers()

    def _acknowledge(self) -> None:
        franka = optional_messages("franka_msgs.action")
        if franka is None:
            raise RecoveryError(
                "franka_msgs is not installed, so the error recovery cannot be asked for: install it, or recover in Desk"
            )
        client: Any = ActionClient(self._node, franka.ErrorRecovery, ACTION)
        try:
            if not client.wait_for_server(_STEP_S):
                raise RecoveryError(f"the action {ACTION} does not answer: is franka_bringup running?")
            handle = _answer(client.send_goal_async(franka.ErrorRecovery.Goal()))
            if handle is None or not handle.accepted:
                raise RecoveryError(
                    f"the action {ACTION} refuses: is the arm user stopped? release it, then recover again"
                )
            ended = _answer(handle.get_result_async())
        finally:
            client.destroy()
        if ended is None:
            raise RecoveryError(
                f"the action {ACTION} did not end within {_STEP_S:.0f} s: see franka_bringup's log, then recover again"
            )
        if ended.status != GoalStatus.STATUS_SUCCEEDED:
            ending = _ENDINGS.get(ended.status, f"of status {ended.status}")
            raise RecoveryError(
                f"the action {ACTION} was {ending}, the robot's errors stand: see their cause in Desk, then recover again"
            )

    def _restart_controllers(self) -> None:
        manager = optional_messages("controller_manager_msgs.srv")
        if manager is None:
            raise RecoveryError(
                "controller_manager_msgs is not installed, so the controllers cannot be started again: install it, or start them "
                "by hand"
            )
        switch = manager.SwitchController
        client: Any = self._node.create_client(switch, SWITCH)
        try:
            for request in (
                switch.Request(deactivate_controllers=list(CONTROLLERS), strictness=1),
                switch.Request(activate_controllers=list(CONTROLLERS), strictness=2),
            ):
                answer = _answer(client.call_async(request)) if client.wait_for_service(_STEP_S) else None
                if answer is None or not answer.ok:
                    raise RecoveryError(
                        f"{SWITCH} did not start {', '.join(CONTROLLERS)} again: see the controller manager's log, then recover "
                        "again"
                    )
        finally:
            self._node.destroy_client(client)


def _answer(future: Any) -> Any:
    """A future's result, which the executor's thread brings; None when it takes too long or is lost."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not done.wait(_STEP_S):
        return None
    try:
        return future.result()
    except Exception:  # whatever rclpy could not do, the answer is not there
        return None
