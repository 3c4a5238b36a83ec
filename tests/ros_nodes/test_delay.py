"""How much later one signal shows another: known delays are found, and nonsense is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ros_nodes.delay import DelayError, appearance, delay_of

S = 1_000_000_000


def motion(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.1 * (np.sin(2.5 * times_s) + 0.6 * np.sin(5.7 * times_s))


def at(times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.round(times_s * S).astype(np.int64) + 1_700_000_000 * S


REFERENCE_S = np.arange(0.0, 8.0, 0.01)


@given(st.floats(-0.04, 0.55), st.floats(10, 120), st.floats(0.0, 0.003))
def test_a_known_delay_is_found_within_3_ms(delay_s: float, rate_hz: float, noise: float) -> None:
    times_s = np.arange(0.0, 8.0, 1.0 / rate_hz)
    values = motion(times_s - delay_s) + noise * np.random.default_rng(0).normal(size=len(times_s))
    found = delay_of("arm", at(times_s), 3.0 * values[:, None] + 1.0, at(REFERENCE_S), motion(REFERENCE_S))
    assert found.delay_s == pytest.approx(delay_s, abs=0.003) and found.agreement > 0.95


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (lambda times_s: np.random.default_rng(0).normal(size=len(times_s)), "does not follow the arm"),
        (lambda times_s: np.zeros(len(times_s)), "does not follow the arm"),
        (lambda times_s: motion(times_s - 0.65), "not between"),
    ],
)
def test_a_signal_that_says_nothing_about_a_delay_is_refused(values, complaint: str) -> None:  # type: ignore[no-untyped-def]
    times_s = np.arange(0.0, 8.0, 0.02)
    with pytest.raises(DelayError, match=complaint):
        delay_of("camera 'front'", at(times_s), values(times_s)[:, None], at(REFERENCE_S), motion(REFERENCE_S))


def test_too_few_samples_are_refused_by_number() -> None:
    with pytest.raises(DelayError, match="camera 'front': 3 samples"):
        delay_of("camera 'front'", at(np.array([1.0, 2.0, 3.0])), np.ones((3, 1)), at(REFERENCE_S), motion(REFERENCE_S))


def test_a_film_of_a_moving_bar_shows_the_motion_late_by_the_cameras_delay() -> None:
    times_s = np.arange(0.0, 8.0, 1.0 / 15.0)
    frames = np.full((len(times_s), 48, 64, 3), 40, np.uint8)
    for frame, angle in zip(frames, motion(times_s - 0.083), strict=True):
        frame[10:40, round(30 + 60 * angle) : round(36 + 60 * angle)] = 220
    found = delay_of("camera", at(times_s), appearance(frames), at(REFERENCE_S), motion(REFERENCE_S))
    assert found.delay_s == pytest.approx(0.083, abs=0.01)
