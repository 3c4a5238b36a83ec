import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_server.sweep.student_t import fit_line, mean_estimate, quantile


def test_quantiles_are_those_of_the_tables() -> None:
    assert quantile(2, 0.95) == pytest.approx(4.303, abs=1e-3)
    assert quantile(30, 0.99) == pytest.approx(2.750, abs=1e-3)


def test_a_mean_has_the_interval_of_the_textbook() -> None:
    estimate = mean_estimate([1.0, 2.0, 3.0])
    assert estimate.value == 2.0
    assert estimate.high - 2.0 == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)
    assert 0.0 in estimate and 5.0 not in estimate


def test_one_measurement_says_nothing_of_the_mean() -> None:
    assert mean_estimate([1.0]).high == math.inf


@settings(max_examples=25)
@given(st.floats(-5, 5), st.floats(-5, 5), st.lists(st.integers(-50, 50), min_size=3, max_size=8, unique=True))
def test_a_line_without_noise_is_found_and_predicts_exactly(intercept: float, slope: float, x: list[int]) -> None:
    line = fit_line(x, [intercept + slope * each for each in x])
    assert line.slope == pytest.approx(slope, abs=1e-9)
    assert line.prediction(60.0).value == pytest.approx(intercept + 60 * slope, abs=1e-7)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    x = np.array([1.0, 2.0, 4.0, 5.0])
    slopes = predictions = means = 0
    draws = 2000
    for _ in range(draws):
        noise = generator.normal(size=5)
        line = fit_line(x, 1 + 0.5 * x + noise[:4])
        slopes += 0.5 in line.slope_estimate(0.9)
        predictions += (1 + 0.5 * 8 + noise[4]) in line.prediction(8.0, 0.9)
        means += 0.0 in mean_estimate(noise.tolist(), 0.9)
    for found in (slopes, predictions, means):
        assert found / draws == pytest.approx(0.9, abs=0.025)


def test_two_points_give_a_line_without_an_interval() -> None:
    line = fit_line([0.0, 1.0], [0.0, 2.0])
    assert line.slope == 2.0 and line.slope_estimate().high == line.prediction(3.0).high == math.inf
