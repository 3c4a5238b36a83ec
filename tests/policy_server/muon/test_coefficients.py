"""Coefficient families: the published figures, and what each must do to a singular value."""

import numpy as np
import pytest

from policy_server.muon.coefficients import POLAR_EXPRESS, SAFETY_FACTOR, polynomial_coefficients
from policy_server.runtime.errors import ConfigurationError


def apply(steps: tuple[tuple[float, float, float], ...], sigma: np.ndarray) -> np.ndarray:
    for a, b, c in steps:
        sigma = a * sigma + b * sigma**3 + c * sigma**5
    return sigma


def test_the_safety_factor_divides_every_row_but_the_last_by_its_odd_powers() -> None:
    steps = polynomial_coefficients("polar_express", 8)
    for (a, b, c), (raw_a, raw_b, raw_c) in zip(steps[:-1], POLAR_EXPRESS[:-1], strict=True):
        assert (a * 1.01, b * 1.01**3, c * 1.01**5) == pytest.approx((raw_a, raw_b, raw_c), rel=1e-12)
    assert SAFETY_FACTOR == 1.01
    assert steps[-1] == POLAR_EXPRESS[-1]


def test_polar_express_repeats_its_last_row() -> None:
    assert polynomial_coefficients("polar_express", 11)[8:] == (POLAR_EXPRESS[-1],) * 3


def test_polar_express_and_the_cubic_converge_to_one() -> None:
    sigma = np.logspace(-3, 0, 50)
    assert apply(polynomial_coefficients("polar_express", 9), sigma) == pytest.approx(1.0, abs=1e-3)
    assert apply(polynomial_coefficients("cubic", 25), sigma) == pytest.approx(1.0, abs=1e-3)


def test_the_quintic_ends_near_one_without_converging() -> None:
    output = apply(polynomial_coefficients("jordan", 30), np.logspace(-3, 0, 200))
    assert 0.65 < output.min() < 0.75
    assert 1.1 < output.max() < 1.25


def test_custom_coefficients_are_used_in_order_and_the_last_repeats() -> None:
    given = ((2.0, -1.0, 0.0), (1.5, -0.5, 0.0))
    assert polynomial_coefficients("custom", 3, given) == (given[0], given[1], given[1])


def test_custom_without_coefficients_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="coefficients: empty"):
        polynomial_coefficients("custom", 3)
