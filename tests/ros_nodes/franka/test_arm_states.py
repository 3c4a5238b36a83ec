"""The arm's states: nothing moves without a command, and a stop latches."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ros_nodes.franka.arm_states import ArmState, ArmStates, CommandRefused

COMMANDS = ("arm", "pause", "stop", "recovered", "chunk_followed", "silence", "hold", "fault", "reset")


def apply(states: ArmStates, command: str) -> None:
    with suppress(CommandRefused):
        if command == "silence":
            states.fell_silent("no chunk")
        elif command == "hold":
            states.hold("dead-man", resumes=False)
        elif command == "fault":
            states.fault("reflex")
        else:
            getattr(states, command)()


def moving() -> ArmStates:
    states = ArmStates(auto_arm=False, auto_resume=False)
    states.arm()
    states.chunk_followed()
    return states


@given(st.lists(st.sampled_from(COMMANDS), max_size=40), st.booleans(), st.booleans())
def test_after_a_fault_the_arm_runs_only_once_recovered_and_then_armed(
    commands: list[str], auto_arm: bool, auto_resume: bool
) -> None:
    states = ArmStates(auto_arm=auto_arm, auto_resume=auto_resume)
    needed: list[str] = []  # what must still be said, in this order, before a chunk may move the arm
    for command in commands:
        faulted = states.state == ArmState.FAULT
        apply(states, command)
        if command in ("stop", "fault"):
            needed = ["recovered", "arm"]
        elif command == "hold" and not faulted and states.state == ArmState.HOLDING:
            needed = ["arm"]
        elif needed and command == needed[0]:
            needed = needed[1:]
        elif needed == ["arm"] and command == "reset" and auto_arm and not faulted:
            needed = []
        assert not (needed and states.may_follow)
        assert not (needed and states.state == ArmState.RUNNING)


@given(st.lists(st.sampled_from([c for c in COMMANDS if c != "arm"]), max_size=40), st.booleans())
def test_what_is_never_armed_never_runs(commands: list[str], auto_resume: bool) -> None:
    states = ArmStates(auto_arm=False, auto_resume=auto_resume)
    for command in commands:
        apply(states, command)
        assert states.state in (ArmState.UNARMED, ArmState.FAULT)


@given(st.lists(st.sampled_from(COMMANDS), max_size=20))
def test_a_stop_is_obeyed_in_every_state(commands: list[str]) -> None:
    states = ArmStates(auto_arm=True, auto_resume=True)
    for command in commands:
        apply(states, command)
    states.stop()
    assert states.state == ArmState.FAULT and not states.may_follow


def test_the_first_cause_of_a_fault_stays() -> None:
    states = moving()
    states.fault("joint_velocity_discontinuity")
    states.stop()
    assert states.cause == "joint_velocity_discontinuity"
    with pytest.raises(CommandRefused, match="joint_velocity_discontinuity"):
        states.arm()


@pytest.mark.parametrize("auto_resume", [False, True])
def test_after_a_silence_the_next_chunk_goes_on_only_where_that_is_allowed(auto_resume: bool) -> None:
    states = ArmStates(auto_arm=True, auto_resume=auto_resume)
    states.chunk_followed()
    states.fell_silent("watchdog")
    assert states.state == ArmState.HOLDING and states.may_follow == auto_resume
    states.arm()
    assert states.may_follow


def test_a_pause_latches_even_after_a_silence_that_would_have_resumed() -> None:
    states = ArmStates(auto_arm=True, auto_resume=True)
    states.chunk_followed()
    states.fell_silent("watchdog")
    states.pause()
    assert not states.may_follow
    states.arm()
    assert states.may_follow


def test_a_running_arm_is_not_recovered() -> None:
    with pytest.raises(CommandRefused, match="nothing to recover"):
        moving().recovered()


def test_an_unarmed_arm_cannot_be_paused() -> None:
    with pytest.raises(CommandRefused, match="unarmed"):
        ArmStates(auto_arm=False, auto_resume=False).pause()


def test_an_arm_that_stopped_by_itself_says_why_when_it_is_paused() -> None:
    states = moving()
    states.fault("contact: joint 3")
    with pytest.raises(CommandRefused, match="contact: joint 3"):
        states.pause()
