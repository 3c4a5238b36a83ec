"""The gripper behind control_msgs/GripperCommand, over a fake action."""

from types import SimpleNamespace
from typing import Any

import pytest
from action_msgs.msg import GoalStatus

from ros_nodes import gripper_action
from ros_nodes.gripper_action import GripperAction
from tests.ros_nodes.clock import Clock


class FakeFuture:
    def __init__(self, result: Any) -> None:
        self._result = result
        self._callbacks: list[Any] = []

    def result(self) -> Any:
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    def add_done_callback(self, callback: Any) -> None:
        self._callbacks.append(callback)

    def finish(self) -> None:
        for callback in self._callbacks:
            callback(self)


class FakeClient:
    """Attributes: goals: positions that were sent; accepts, ending: what the server answers."""

    def __init__(self, *_: Any) -> None:
        self.goals: list[float] = []
        self.accepts = True
        self.is_ready = True
        self.ending: Any = SimpleNamespace(status=GoalStatus.STATUS_SUCCEEDED)

    def server_is_ready(self) -> bool:
        return self.is_ready

    def send_goal_async(self, goal: Any) -> FakeFuture:
        self.goals.append(goal.command.position)
        result = self.result = FakeFuture(self.ending)
        self.sent = FakeFuture(SimpleNamespace(accepted=self.accepts, get_result_async=lambda: result))
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
def clock() -> Clock:
    return Clock()


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def gripper(client: FakeClient, clock: Clock, warnings: list[str]) -> GripperAction:
    node: Any = SimpleNamespace(get_logger=lambda: SimpleNamespace(warning=warnings.append))
    return GripperAction(node, "franka_gripper/gripper_action", clock)


ABORTED = SimpleNamespace(status=GoalStatus.STATUS_ABORTED)


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


def refuse(client: FakeClient) -> None:
    client.accepts = False


def abort(client: FakeClient) -> None:
    client.ending = ABORTED


def lose(client: FakeClient) -> None:
    client.ending = RuntimeError("the client was destroyed")


@pytest.mark.parametrize("spoil", [refuse, abort, lose])
def test_a_width_that_was_not_reached_is_sent_again_but_not_at_every_tick(
    gripper: GripperAction, client: FakeClient, clock: Clock, spoil: Any
) -> None:
    spoil(client)
    for _ in range(25):
        gripper.move(0.0)
        if client.goals:
            client.end_goal()
        clock.now_s += 0.1
    assert client.goals == [0.0, 0.0, 0.0]


def test_a_width_that_was_not_reached_is_not_sent_again_unasked(
    gripper: GripperAction, client: FakeClient, clock: Clock
) -> None:
    client.ending = ABORTED
    gripper.move(0.0)
    clock.now_s += 1.5
    client.end_goal()
    clock.now_s += 1.5
    assert client.goals == [0.0]


def test_an_aborted_goal_is_said_once_and_again_after_a_success(
    gripper: GripperAction, client: FakeClient, clock: Clock, warnings: list[str]
) -> None:
    for ending, count in (
        (ABORTED, 1),
        (ABORTED, 1),
        (SimpleNamespace(status=GoalStatus.STATUS_SUCCEEDED), 1),
        (ABORTED, 2),
    ):
        client.ending = ending
        gripper.move(0.02 if count == 2 else 0.0)
        client.end_goal()
        clock.now_s += 1.1
        assert len(warnings) == count
    assert "0.000 m: the goal was aborted" in warnings[0]


def test_a_gripper_whose_node_died_gets_the_width_anew_when_it_is_back(
    gripper: GripperAction, client: FakeClient, clock: Clock
) -> None:
    gripper.move(0.02)
    client.is_ready = False
    gripper.move(0.02)
    client.is_ready = True
    clock.now_s += 1.1
    gripper.move(0.02)
    assert client.goals == [0.01, 0.01]


@pytest.mark.parametrize("accepted", [False, True])
def test_a_goal_that_is_never_answered_is_given_up(
    gripper: GripperAction, client: FakeClient, clock: Clock, accepted: bool
) -> None:
    gripper.move(0.02)
    if accepted:
        client.sent.finish()
    clock.now_s += 1.0
    gripper.move(0.06)
    assert client.goals == [0.01]
    clock.now_s += 9.5
    gripper.move(0.06)
    assert client.goals == [0.01, 0.03]


def test_the_late_answer_of_a_goal_given_up_ends_no_newer_one(
    gripper: GripperAction, client: FakeClient, clock: Clock
) -> None:
    gripper.move(0.02)
    late = client.sent
    clock.now_s += 3.0
    gripper.move(0.06)
    late.finish()
    gripper.move(0.04)
    assert client.goals == [0.01, 0.03]
