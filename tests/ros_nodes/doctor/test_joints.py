"""Joint states: this robot's names, inside its limits, often enough for the policy's frames."""

from dataclasses import replace

import pytest

from policy_server.runtime.clock import NS_PER_MS, NS_PER_S
from policy_server.runtime.resources import resource
from ros_nodes.doctor.finding import Finding, Level
from ros_nodes.doctor.graph_view import JointArrival
from ros_nodes.doctor.joints import check_joint_states
from ros_nodes.franka.settings import load_guard_settings

LIMITS = load_guard_settings(resource("config/arm.yaml"), "fr3").limits
READY = dict(zip(LIMITS.joints, (0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785, 0.02), strict=True))
BEGIN_NS = 1_700_000_000 * NS_PER_S


def arrivals(rate_hz: float = 100.0, positions: dict[str, float] = READY) -> list[JointArrival]:
    stamps = [BEGIN_NS + round(index * NS_PER_S / rate_hz) for index in range(50)]
    return [JointArrival(stamp, stamp + NS_PER_MS, positions) for stamp in stamps]


def found(states: list[JointArrival], needed: bool = True) -> dict[str, Finding]:
    findings = check_joint_states(states, LIMITS, "joint_states", needed, skew_s=0.05)
    return {finding.name: finding for finding in findings}


def test_a_standing_arm_passes() -> None:
    assert {finding.level for finding in found(arrivals()).values()} == {Level.OK}


@pytest.mark.parametrize(("needed", "level"), [(True, Level.FAIL), (False, Level.WARN)])
def test_silence_fails_only_where_the_robot_is_meant_to_run(needed: bool, level: Level) -> None:
    assert found([], needed)["joint states"].level == level


def test_another_robots_names_fail() -> None:
    fer = {name.replace("fr3", "fer"): value for name, value in READY.items()}
    finding = found(arrivals(positions=fer))["joint states: names"]
    assert finding.level == Level.FAIL and "fr3_joint1" in finding.found and "fer_joint1" in finding.found


def test_zeros_are_nobodys_measurement() -> None:
    zeros = dict.fromkeys(READY, 0.0)
    assert found(arrivals(positions=zeros))["joint states: positions"].found == "all exactly 0"


def test_an_arm_outside_of_its_limits_fails_with_the_joint() -> None:
    finding = found(arrivals(positions={**READY, "fr3_joint4": -3.1}))["joint states: positions"]
    assert finding.level == Level.FAIL and "fr3_joint4 is at -3.1000" in finding.found


@pytest.mark.parametrize(("rate_hz", "level"), [(30.0, Level.OK), (10.0, Level.OK), (9.0, Level.FAIL)])
def test_every_frame_needs_a_joint_state_near_it(rate_hz: float, level: Level) -> None:
    assert found(arrivals(rate_hz))["joint states: rate"].level == level


def test_stamps_of_another_clock_fail() -> None:
    ahead = [replace(arrival, received_ns=arrival.stamp_ns - 40 * NS_PER_MS) for arrival in arrivals()]
    assert found(ahead)["joint states: stamps"].level == Level.FAIL
