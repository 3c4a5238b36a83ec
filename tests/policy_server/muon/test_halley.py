"""Halley's weights: optimal on the interval they are made for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_server.muon.configuration import PolarConfig
from policy_server.muon.halley import halley_weights
from policy_server.muon.response import response


@given(st.floats(1e-6, 0.99))
def test_a_first_step_keeps_the_interval_between_its_own_bound_and_one(lower: float) -> None:
    a, b, c = halley_weights(lower, 2)[0]
    sigma = np.geomspace(lower, 1, 2001)
    output = sigma * (a + b * sigma**2) / (1 + c * sigma**2)
    bound = output[0]
    assert output.max() <= 1 + 1e-9
    assert output.min() >= bound * (1 - 1e-9)
    assert bound > lower


def test_without_a_gap_it_is_halleys_iteration() -> None:
    assert halley_weights(1 - 1e-12, 2)[0] == pytest.approx((3, 1, 3), rel=1e-4)


@pytest.mark.parametrize(("steps", "error"), [(1, 0.61), (2, 0.02), (3, 1e-6)])
def test_the_result_lies_around_one(steps: int, error: float) -> None:
    config = PolarConfig("halley", steps, "gram", "float64")
    output = response(config, np.geomspace(1e-3, 1, 500))
    assert output.max() - 1 == pytest.approx(1 - output.min(), rel=0.05, abs=1e-5)
    assert output.max() - 1 <= error
