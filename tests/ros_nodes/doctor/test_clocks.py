"""Clocks: a step is found, chrony's answer is read, a simulated clock on the robot's domain is told."""

from collections.abc import Callable
from pathlib import Path

import pytest

from policy_server.runtime.clock import NS_PER_MS, NS_PER_S
from ros_nodes.doctor.clocks import check_clock_source, check_clock_steps, check_ros_time, check_time_service
from ros_nodes.doctor.finding import Level
from ros_nodes.doctor.system import System

TRACKING = "C0A80001,172.16.0.1,3,1700000000.1,{offset},0.000001,0.00001,-1.5,0.001,0.01,0.001,0.002,64.2,{leap}\n"


def clocks(drift: Callable[[int], int]) -> Callable[[], tuple[int, int]]:
    """Both clocks, a tenth of a second later at every reading; the wall clock apart by ``drift(reading)`` ns."""
    readings = iter(range(1000))

    def read() -> tuple[int, int]:
        reading = next(readings)
        now_ns = reading * NS_PER_S // 10
        return now_ns, 1_700_000_000 * NS_PER_S + now_ns + drift(reading)

    return read


@pytest.mark.parametrize(
    ("drift", "level"),
    [
        (lambda reading: 0, Level.OK),
        (lambda reading: reading * 40_000, Level.OK),  # slewed by 400 parts per million
        (lambda reading: 30 * NS_PER_MS if reading > 4 else 0, Level.FAIL),
        (lambda reading: -30 * NS_PER_MS if reading == 5 else 0, Level.FAIL),  # back and forth again
    ],
    ids=["even", "slewed", "stepped", "stepped-and-back"],
)
def test_a_step_is_told_from_a_slew(drift: Callable[[int], int], level: Level) -> None:
    finding = check_clock_steps(1.0, clocks(drift), sleep=lambda _seconds: None)
    assert finding.level == level and bool(finding.mend) == (level != Level.OK)


def answering(**answers: str) -> Callable[..., str | None]:
    return lambda command: answers.get(command[0])


@pytest.mark.parametrize(
    ("offset", "leap", "level"),
    [
        ("-0.000020", "Normal", Level.OK),
        ("-0.009", "Normal", Level.WARN),
        ("0.3", "Normal", Level.FAIL),
        ("0.0", "Not synchronised", Level.WARN),
    ],
)
def test_chronys_offset_is_judged(offset: str, leap: str, level: Level) -> None:
    finding = check_time_service(answering(chronyc=TRACKING.format(offset=offset, leap=leap)))
    assert finding.level == level
    if leap == "Normal":
        assert "172.16.0.1" in finding.found and f"{abs(float(offset)) * 1000:.3f} ms" in finding.found


def test_an_answer_of_another_chrony_is_shown_rather_than_guessed_at() -> None:
    finding = check_time_service(answering(chronyc="506 Cannot talk to daemon"))
    assert finding.level == Level.WARN and "506" in finding.found


def test_without_a_time_service_two_computers_are_warned() -> None:
    assert check_time_service(answering()).level == Level.WARN
    synchronised = check_time_service(answering(timedatectl="yes\n"))
    assert synchronised.level == Level.WARN and "synchronised" in synchronised.found


@pytest.mark.parametrize(("source", "level"), [("tsc", Level.OK), ("hpet", Level.WARN), (None, Level.SKIP)])
def test_a_slow_clock_source_is_told(tmp_path: Path, source: str | None, level: Level) -> None:
    if source is not None:
        file = tmp_path / "sys/devices/system/clocksource/clocksource0/current_clocksource"
        file.parent.mkdir(parents=True)
        file.write_text(f"{source}\n", encoding="utf-8")
    assert check_clock_source(System(tmp_path)).level == level


def test_a_simulated_clock_on_the_robots_domain_is_told() -> None:
    assert check_ros_time([]).level == Level.OK
    assert check_ros_time(["bridge_node"]).found == "bridge_node publishes /clock"
