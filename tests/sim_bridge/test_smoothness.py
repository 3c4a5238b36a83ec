"""Peak jerk at seams and inside chunks, of motions whose kinks are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from policy_server.runtime.actions import ActionChunk
from ros_nodes.franka.set_points import SetPoints
from sim_bridge.fr3 import COMMAND_JOINTS
from sim_bridge.smoothness import MotionRecord, along, describe_seams, median_interval, seams

PERIOD_NS = 100_000_000
PER_TICK = 10
KINK = 1 / 0.01**2  # rad/s³ of a change of 1 rad/s, in the path


def record(knots: list[float], handed_over: set[int], leads: list[bool] | None = None) -> MotionRecord:
    """The first joint goes through ``knots``, one per tick; executed exactly."""
    whole = np.zeros((len(knots), len(COMMAND_JOINTS)))
    whole[:, 0] = knots
    executed = along(whole, PER_TICK)
    motion = MotionRecord(whole[0], PERIOD_NS)
    led = leads or [True] * (len(knots) - 1)
    for tick, lead in enumerate(led):
        positions = executed[1 + tick * PER_TICK : 1 + (tick + 1) * PER_TICK]
        still: NDArray[np.float64] = np.zeros_like(positions)
        stamps = np.arange(PER_TICK, dtype=np.int64)
        chunk = ActionChunk(tick * PERIOD_NS, PERIOD_NS, COMMAND_JOINTS, whole[tick + 1 :].astype(np.float32))
        points = SetPoints(stamps, positions, still, still, "running")
        motion.add(chunk if lead else None, points, handed_over=tick in handed_over, leads=lead)
    return motion


def test_a_seam_is_half_a_period_before_to_one_and_a_half_after_a_hand_over() -> None:
    handed_over = np.array([False, False, True, False, False])
    expected = [tick in range(3, 7) for tick in range(10)]
    np.testing.assert_array_equal(seams(handed_over, np.ones(5, bool)), expected)
    np.testing.assert_array_equal(seams(np.zeros(5, bool), ~handed_over), expected)


@pytest.mark.parametrize(("kinked", "where"), [(8, "seam"), (9, "seam"), (10, "inside"), (11, "inside")])
def test_a_kink_counts_where_it_is(kinked: int, where: str) -> None:
    knots = np.zeros(17)
    knots[kinked + 1 :] = 0.1 * np.arange(1, 17 - kinked)  # from rest to 1 rad/s
    path = record(knots.tolist(), {0, 4, 8, 12}).smoothness().path
    assert path.seam is not None and path.inside is not None
    larger, smaller = (path.seam, path.inside) if where == "seam" else (path.inside, path.seam)
    assert larger == pytest.approx(KINK, rel=1e-4) and smaller < 1e-2 * KINK


def test_the_ratio_is_seam_over_inside_and_the_executed_motion_is_judged_alike() -> None:
    knots = np.concatenate([np.zeros(9), 0.3 * np.arange(1, 3), 0.6 + 0.4 * np.arange(1, 7)])
    motion = record(knots.tolist(), {0, 4, 8, 12}).smoothness()
    assert motion.hand_overs == 4
    assert motion.path.ratio == pytest.approx(3.0, rel=1e-3)  # 3 rad/s at the seam, then 1 rad/s more inside
    assert motion.set_points.ratio == pytest.approx(3.0, rel=1e-3)


def test_the_departure_at_the_start_is_no_seam() -> None:
    knots = np.concatenate([np.zeros(3), 0.1 * np.arange(1, 11)])
    peaks = record(knots.tolist(), {2, 6, 10}, [False] * 2 + [True] * 10).smoothness().path
    assert peaks.seam is not None and peaks.seam < 1e-2 * KINK


def test_a_stop_between_two_chunks_is_not_inside_one() -> None:
    knots = [*(0.1 * np.arange(8)), 0.7, 0.7, 0.7, *(0.7 + 0.1 * np.arange(1, 5))]
    led = [True] * 7 + [False] * 3 + [True] * 4
    peaks = record(knots, {0, 10}, led).smoothness().path
    assert peaks.inside is not None and peaks.inside < 1e-2 * KINK
    assert peaks.seam == pytest.approx(KINK, rel=1e-4)


def test_without_a_second_chunk_or_without_any_there_is_nothing_to_compare() -> None:
    assert record([0.0, 0.0, 0.0], set(), [False, False]).smoothness().path.seam is None
    only_seams = record([0.0] * 7, set(range(6))).smoothness().path
    assert only_seams.inside is None and only_seams.ratio is None


def test_the_interval_of_a_median_is_that_of_the_sign_test() -> None:
    # Tabulated: of 9 values the 2nd and the 8th, of 20 the 6th and the 15th.
    assert median_interval(list(range(1, 10))) == (5, 2, 8)
    assert median_interval(list(range(1, 21))) == (10.5, 6, 15)
    assert median_interval([3.0, 1.0, 2.0]) == (2, 1, 3)


def test_a_line_says_the_median_ratio_or_that_there_is_none() -> None:
    knots = np.concatenate([np.zeros(9), 0.3 * np.arange(1, 3), 0.6 + 0.4 * np.arange(1, 7)])
    kinked = record(knots.tolist(), {0, 4, 8, 12}).smoothness()
    assert "median of 2 episodes: path 3.00 (3.00 to 3.00), set-points 3.00" in describe_seams([kinked, kinked])
    assert "sample less often" in describe_seams([record([0.0] * 7, set(range(6))).smoothness()])
