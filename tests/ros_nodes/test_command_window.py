"""Published trajectories repeat what is still to come and end at rest."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ros_nodes.command_window import CommandWindow
from ros_nodes.franka.set_points import SetPoints


def points(times_ns: list[int]) -> SetPoints:
    rows = np.array(times_ns, np.float64)[:, None]
    return SetPoints(np.array(times_ns, np.int64), rows, 10 * rows, 100 * rows, "running")


def times_of(joined: SetPoints) -> list[int]:
    times_ns: list[int] = joined.times_ns.tolist()
    return times_ns


@given(st.lists(st.integers(1, 5), max_size=6), st.integers(0, 40))
def test_nothing_to_come_is_lost_and_nothing_past_is_kept(pieces: list[int], now_ns: int) -> None:
    window = CommandWindow(1)
    time_ns = 0
    for length in pieces:
        window.extend(points(list(range(time_ns + 1, time_ns + length + 1))))
        time_ns += length
    window.drop_until(now_ns)
    whole = window.with_tail(points([time_ns + 1]))
    assert times_of(whole) == [*range(now_ns + 1, time_ns + 1), time_ns + 1]
    np.testing.assert_array_equal(whole.positions[:, 0], whole.times_ns)
    np.testing.assert_array_equal(whole.velocities[:, 0], 10 * whole.times_ns)
    np.testing.assert_array_equal(whole.accelerations[:, 0], 100 * whole.times_ns)


def test_the_tail_is_not_kept() -> None:
    window = CommandWindow(1)
    window.extend(points([1, 2]))
    window.with_tail(points([3]))
    assert times_of(window.with_tail(points([]))) == [1, 2]


def test_after_clearing_only_the_tail_is_left() -> None:
    window = CommandWindow(1)
    window.extend(points([1, 2]))
    window.clear()
    assert times_of(window.with_tail(points([7]))) == [7]
