"""The gripper behind control_msgs/GripperCommand, over a fake action."""

from types import SimpleNamespace
from typing import Any

import pytest

from ros_nodes import gripper_action
from ros_nodes.gripper_action import GripperAction


class FakeFuture:
    def __init__(self, result: Any) -> None:
        self._result = result
        self._callbacks: list[Any] = []

    def result(self) -> Any:
        return self._result

    def add_done_callback(self, callback: Any) -> None:
        self._callbacks.append(callback)

    def finish(self) -> None:
        for callback in self._callbacks:
            callback(self)


class FakeClient:
    """Attributes: goals: positions that were sent; accepts: what the server answers."""

    def __init__(self, *_: Any) -> None:
        self.goals: list[float] = []
        self.accepts = True
        self.is_ready = True

    def server_is_ready(self) -> bool:
        return self.is_ready

    def send_goal_async(self, goal: Any) -> FakeFuture:
        self.goals.append(goal.command.position)
        self.result = FakeFuture(None)
        self.sent = FakeFuture(SimpleNamespace(accepted=self.accepts, get_result_async=lambda: self.result))
        return self.sent

    def end_goal(self) -> None:
        self.sent.finish()
        self.result.finish()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    client = FakeClient()
    goal = lambda: SimpleNamespace(command=SimpleNamespace(position=0.0, max_effort=0.0))  # noqa: E731
    monkeypatch.setattr(gripper_action, "_gripper_command", lambda: SimpleNamespace(Goal=goal))
    monkeypatch.setattr(gripper_action, "ActionClient", lambda *_: client)
    return client


@pytest.fixture
def gripper(client: FakeClient) -> GripperAction:
    node: Any = SimpleNamespace(get_logger=lambda: SimpleNamespace(warning=lambda text: None))
    return GripperAction(node, "franka_gripper/gripper_action")


def test_a_width_becomes_the_position_of_one_finger(gripper: GripperAction, client: FakeClient) -> None:
    gripper.move(0.06)
    assert client.goals == [0.03]


def test_a_goal_under_way_ends_before_the_newest_width_is_sent(gripper: GripperAction, client: FakeClient) -> None:
    for width_m in (0.08, 0.05, 0.02):
        gripper.move(width_m)
    assert client.goals == [0.04]
    client.end_goal()
    assert client.goals == [0.04, 0.01]


def test_the_same_width_is_not_sent_again(gripper: GripperAction, client: FakeClient) -> None:
    gripper.move(0.08)
    client.end_goal()
    gripper.move(0.0801)
    assert client.goals == [0.04]


def test_after_a_refusal_the_next_width_is_tried(gripper: GripperAction, client: FakeClient) -> None:
    client.accepts = False
    gripper.move(0.08)
    client.sent.finish()
    gripper.move(0.02)
    assert client.goals == [0.04, 0.01]


def test_a_gripper_that_is_not_there_yet_gets_the_width_later(gripper: GripperAction, client: FakeClient) -> None:
    client.is_ready = False
    gripper.move(0.08)
    client.is_ready = True
    gripper.move(0.08)
    assert client.goals == [0.04]
