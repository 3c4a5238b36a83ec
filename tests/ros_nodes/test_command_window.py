"""Published trajectories repeat what is still to come and end at rest."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ros_nodes.command_window import CommandWindow
from ros_nodes.franka.set_points import SetPoints


def points(times_ns: list[int]) -> SetPoints:
    rows = np.array(times_ns, np.float64)[:, None]
    return SetPoints(np.array(times_ns, np.int64), rows, 10 * rows, 100 * rows, "running")


@given(st.lists(st.integers(1, 5), max_size=6), st.integers(0, 40))
def test_nothing_to_come_is_lost_and_nothing_past_is_kept(pieces: list[int], now_ns: int) -> None:
    window = CommandWindow(1)
    time_ns = 0
    for length in pieces:
        window.extend(points(list(range(time_ns + 1, time_ns + length + 1))))
        time_ns += length
    window.drop_until(now_ns)
    times_ns, positions, velocities = window.with_tail(points([time_ns + 1]))
    assert times_ns.tolist() == [*range(now_ns + 1, time_ns + 1), time_ns + 1]
    np.testing.assert_array_equal(positions[:, 0], times_ns)
    np.testing.assert_array_equal(velocities[:, 0], 10 * times_ns)


def test_the_tail_is_not_kept() -> None:
    window = CommandWindow(1)
    window.extend(points([1, 2]))
    window.with_tail(points([3]))
    assert window.with_tail(points([]))[0].tolist() == [1, 2]


def test_after_clearing_only_the_tail_is_left() -> None:
    window = CommandWindow(1)
    window.extend(points([1, 2]))
    window.clear()
    assert window.with_tail(points([7]))[0].tolist() == [7]
