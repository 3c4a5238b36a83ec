"""The Franka Hand: the newest width counts, and a slow or refusing hand disturbs nobody."""

import time
from collections.abc import Callable, Iterator

import pytest

from ros_nodes.franka.backends.franky_hand import FrankyHand
from ros_nodes.franka.backends.franky_settings import FrankySettings
from tests.ros_nodes.clock import Clock
from tests.ros_nodes.franka.backends.fake_franky import Gripper


def wait_for(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


@pytest.fixture
def gripper() -> Gripper:
    return Gripper()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hand(gripper: Gripper, clock: Clock) -> Iterator[FrankyHand]:
    hand = FrankyHand(gripper, FrankySettings("127.0.0.1"), clock)
    yield hand
    hand.close()


def test_a_width_is_moved_to_and_almost_none_is_a_grasp(hand: FrankyHand, gripper: Gripper) -> None:
    hand.move(0.05)
    wait_for(lambda: gripper.commands)
    gripper.futures[-1].is_done = True
    hand.move(0.0)
    wait_for(lambda: len(gripper.commands) > 1)
    assert gripper.commands == [("move", 0.05), ("grasp", 0.0)]


def test_a_command_under_way_is_interrupted_only_for_a_width_far_from_its_own(
    hand: FrankyHand, gripper: Gripper
) -> None:
    hand.move(0.05)
    wait_for(lambda: gripper.commands)
    hand.move(0.045)
    time.sleep(0.12)
    assert gripper.commands == [("move", 0.05)]
    hand.move(0.02)
    wait_for(lambda: len(gripper.commands) > 2)
    assert gripper.commands[1:] == [("stop", 0.0), ("move", 0.02)]


def test_a_near_width_is_moved_to_once_the_hand_is_free(hand: FrankyHand, gripper: Gripper) -> None:
    hand.move(0.05)
    wait_for(lambda: gripper.commands)
    hand.move(0.045)
    gripper.futures[-1].is_done = True
    wait_for(lambda: gripper.commands[-1] == ("move", 0.045))


def test_a_refusal_is_said_and_the_next_command_is_tried(hand: FrankyHand, gripper: Gripper) -> None:
    hand.move(0.05)
    wait_for(lambda: gripper.commands)
    gripper.futures[-1].error = RuntimeError("libfranka gripper: command failed")
    gripper.futures[-1].is_done = True
    wait_for(lambda: hand.problem)
    assert "command failed" in hand.problem
    hand.move(0.02)
    wait_for(lambda: gripper.commands[-1] == ("move", 0.02))
    gripper.futures[-1].is_done = True
    wait_for(lambda: hand.problem == "")


def fail(gripper: Gripper, raises: bool) -> None:
    future = gripper.futures[-1]
    future.error, future.succeeds = RuntimeError("command failed") if raises else None, False
    future.is_done = True


@pytest.mark.parametrize("raises", [True, False])
def test_a_width_that_failed_is_tried_again_when_asked_for_but_not_at_once(
    hand: FrankyHand, gripper: Gripper, clock: Clock, raises: bool
) -> None:
    hand.move(0.0)
    wait_for(lambda: gripper.futures)
    fail(gripper, raises)
    wait_for(lambda: hand.problem)
    for _ in range(5):
        hand.move(0.0)
        time.sleep(0.01)
    assert gripper.commands == [("grasp", 0.0)]
    clock.now_s += 1.1
    hand.move(0.0)
    wait_for(lambda: gripper.commands == [("grasp", 0.0)] * 2)


def test_a_width_that_failed_is_not_tried_again_unasked(hand: FrankyHand, gripper: Gripper, clock: Clock) -> None:
    hand.move(0.0)
    wait_for(lambda: gripper.futures)
    fail(gripper, raises=True)
    wait_for(lambda: hand.problem)
    clock.now_s += 1.1
    time.sleep(0.12)
    assert gripper.commands == [("grasp", 0.0)]


def test_a_command_that_was_interrupted_is_no_failure(hand: FrankyHand, gripper: Gripper) -> None:
    hand.move(0.05)
    wait_for(lambda: gripper.futures)
    hand.move(0.0)
    wait_for(lambda: len(gripper.futures) > 1)
    hand.move(0.05)
    wait_for(lambda: len(gripper.futures) > 2)
    assert hand.problem == ""


def test_widths_beyond_the_hand_are_clipped(hand: FrankyHand, gripper: Gripper) -> None:
    hand.move(1.0)
    wait_for(lambda: gripper.commands)
    assert gripper.commands == [("move", 0.08)]
