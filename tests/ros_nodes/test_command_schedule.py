"""Commands on a grid: a chunk neither makes them uneven at a high rate nor waits long at a low one."""

import pytest

from ros_nodes.command_schedule import CommandSchedule

MS = 1_000_000


def test_the_first_command_goes_out_at_once() -> None:
    assert CommandSchedule(5 * MS).wait_ns(123_456_789) == 0


def test_a_commands_own_length_does_not_add_up() -> None:
    schedule = CommandSchedule(5 * MS)
    assert schedule.pause_ns(1000 * MS + 2 * MS) == 3 * MS
    assert schedule.pause_ns(1005 * MS + 4 * MS) == 1 * MS
    assert schedule.pause_ns(1010 * MS + 7 * MS) == 3 * MS  # too long: a point is left out, the grid stays


@pytest.mark.parametrize("woken_ms", [1001, 1003, 1004])
def test_at_200_hz_a_chunk_waits_for_the_grid(woken_ms: int) -> None:
    schedule = CommandSchedule(5 * MS)
    schedule.pause_ns(1000 * MS)
    assert schedule.wait_ns(woken_ms * MS) == (1005 - woken_ms) * MS
    assert schedule.wait_ns(1005 * MS) == 0


def test_at_50_hz_a_chunk_is_answered_at_once_unless_the_next_command_is_near() -> None:
    schedule = CommandSchedule(20 * MS)
    schedule.pause_ns(1000 * MS)
    assert schedule.wait_ns(1004 * MS) == 0
    assert schedule.wait_ns(1017 * MS) == 3 * MS


def test_a_clock_that_was_set_back_stops_nothing() -> None:
    schedule = CommandSchedule(5 * MS)
    schedule.pause_ns(1000 * MS)
    assert schedule.wait_ns(200 * MS) == 0
