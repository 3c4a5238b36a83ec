"""Finding the moment of rest in measured speeds."""

import numpy as np
import pytest

from sim_bridge.soak.rest import rest_after

TIMES_S = np.arange(0.0, 3.0, 0.01)


def speeds(stops_at_s: float) -> np.ndarray:
    """0.5 rad/s until then."""
    return 0.5 * (stops_at_s > TIMES_S)


def test_the_rest_is_counted_from_the_last_chunk() -> None:
    rest = rest_after(TIMES_S, speeds(1.4), 1.0, 3.0)
    assert rest.was_moving
    assert rest.after_s == pytest.approx(0.4, abs=0.011)


def test_an_arm_that_never_rests_is_said() -> None:
    assert rest_after(TIMES_S, speeds(9.0), 1.0, 3.0).after_s is None


def test_a_pause_between_two_motions_is_no_rest() -> None:
    moving = speeds(1.2) + np.where((TIMES_S > 1.5) & (TIMES_S < 2.0), 0.5, 0.0)
    assert rest_after(TIMES_S, moving, 1.0, 3.0).after_s == pytest.approx(1.0, abs=0.011)


def test_an_arm_that_stood_still_gives_nothing_to_measure() -> None:
    rest = rest_after(TIMES_S, speeds(0.0), 1.0, 3.0)
    assert not rest.was_moving
    assert rest.after_s == 0.0
