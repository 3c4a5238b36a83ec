"""Recovery with franka_ros2, over fakes of its messages: the order, and what is said when a step fails."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from action_msgs.msg import GoalStatus

from ros_nodes import robot_recovery
from ros_nodes.franka.backends.backend import RecoveryError
from ros_nodes.robot_recovery import FrankaRos2Recovery


class Done:
    """A future that has its result."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def result(self) -> Any:
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    def add_done_callback(self, callback: Any) -> None:
        callback(self)


class FakeRobot:
    """Attributes: done: the steps in their order."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.answers = True
        self.accepts = True
        self.switches = True
        self.ending: Any = SimpleNamespace(status=GoalStatus.STATUS_SUCCEEDED)

    def action_client(self, *_: Any) -> Any:
        handle = SimpleNamespace(accepted=self.accepts, get_result_async=lambda: Done(self.ending))
        return SimpleNamespace(
            wait_for_server=lambda timeout_s: self.answers,
            send_goal_async=lambda goal: self.done.append("acknowledge") or Done(handle),
            destroy=lambda: None,
        )

    def create_client(self, *_: Any) -> Any:
        def call(request: Any) -> Done:
            self.done.append("stop" if "deactivate_controllers" in request else "start")
            return Done(SimpleNamespace(ok=self.switches))

        return SimpleNamespace(wait_for_service=lambda timeout_s: True, call_async=call)

    def destroy_client(self, client: Any) -> None:
        pass


@pytest.fixture
def robot(monkeypatch: pytest.MonkeyPatch) -> FakeRobot:
    robot = FakeRobot()
    action, service = ModuleType("franka_msgs.action"), ModuleType("controller_manager_msgs.srv")
    action.ErrorRecovery = SimpleNamespace(Goal=lambda: None)  # type: ignore[attr-defined]
    service.SwitchController = SimpleNamespace(Request=dict)  # type: ignore[attr-defined]
    for name, module in (("franka_msgs.action", action), ("controller_manager_msgs.srv", service)):
        monkeypatch.setitem(sys.modules, name.split(".")[0], ModuleType(name.split(".")[0]))
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(robot_recovery, "ActionClient", robot.action_client)
    return robot


def test_errors_are_acknowledged_before_the_controllers_start_again(robot: FakeRobot) -> None:
    FrankaRos2Recovery(robot).run()  # type: ignore[arg-type]
    assert robot.done == ["acknowledge", "stop", "start"]


def test_without_the_messages_the_failure_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "franka_msgs", None)
    monkeypatch.setitem(sys.modules, "franka_msgs.action", None)
    with pytest.raises(RecoveryError, match="franka_msgs"):
        FrankaRos2Recovery(SimpleNamespace()).run()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attribute", "says"), [("answers", "does not answer"), ("accepts", "user stopped"), ("switches", "controller")]
)
def test_a_step_that_fails_is_said_and_ends_the_recovery(robot: FakeRobot, attribute: str, says: str) -> None:
    setattr(robot, attribute, False)
    with pytest.raises(RecoveryError, match=says):
        FrankaRos2Recovery(robot).run()  # type: ignore[arg-type]
    assert "start" not in robot.done


@pytest.mark.parametrize(
    ("ending", "says"),
    [
        (SimpleNamespace(status=GoalStatus.STATUS_ABORTED), r"error_recovery was aborted.*Desk"),
        (SimpleNamespace(status=GoalStatus.STATUS_CANCELED), r"error_recovery was canceled.*Desk"),
        (SimpleNamespace(status=GoalStatus.STATUS_UNKNOWN), r"error_recovery was of status 0.*Desk"),
        (RuntimeError("the client was destroyed"), r"error_recovery did not end.*log"),
    ],
)
def test_only_a_recovery_that_succeeded_starts_the_controllers(robot: FakeRobot, ending: Any, says: str) -> None:
    robot.ending = ending
    with pytest.raises(RecoveryError, match=says):
        FrankaRos2Recovery(robot).run()  # type: ignore[arg-type]
    assert robot.done == ["acknowledge"]
