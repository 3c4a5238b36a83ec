"""Gradients against differences, for every activation and every kind of student."""

from typing import Any

import numpy as np
import pytest

from policy_server.lora.lab.activations import ACTIVATIONS
from policy_server.lora.lab.students import LinearisedStudent, NetworkStudent

K = 6
NAMES = list(ACTIVATIONS)


def student(kind: str, name: Any, guess: np.ndarray, normalise: bool = True) -> NetworkStudent | LinearisedStudent:
    second = np.random.default_rng(5).standard_normal((1, K))
    strength = np.full((1, 1, 1), 1.7)
    if kind == "linearised":
        return LinearisedStudent(ACTIVATIONS[name], second, guess, strength)
    return NetworkStudent(ACTIVATIONS[name], second, guess, strength, normalise)


def respond(kind: str, name: str, guess: np.ndarray, seen: float, normalise: bool) -> tuple[float, float]:
    projected = np.random.default_rng(6).standard_normal((1, K))
    output, steepness = student(kind, name, guess, normalise).respond(projected, np.full((1, 1), seen))
    return output.item(), steepness.item()


@pytest.mark.parametrize("name", NAMES)
def test_slopes_are_those_of_the_values(name: Any) -> None:
    z = np.linspace(-2.05, 2.05, 42)  # without the kink of ReLU
    value, slope = ACTIVATIONS[name].with_slope(z)
    np.testing.assert_allclose(value, ACTIVATIONS[name].value(z))
    step = 1e-6
    differences = (ACTIVATIONS[name].value(z + step) - ACTIVATIONS[name].value(z - step)) / (2 * step)
    np.testing.assert_allclose(slope, differences, atol=1e-6)


@pytest.mark.parametrize("name", ["quadratic", "he3"])
def test_hermite_polynomials_have_unit_variance_and_no_mean(name: Any) -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    value = ACTIVATIONS[name].value(nodes)
    assert weights @ value / weights.sum() == pytest.approx(0, abs=1e-12)
    assert weights @ value**2 / weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("kind", ["network", "linearised"])
@pytest.mark.parametrize("name", NAMES)
def test_steepness_is_the_slope_along_the_direction(name: str, kind: str, normalise: bool) -> None:
    guess, step = 0.4 * np.random.default_rng(7).standard_normal((1, 1, K)), 1e-6
    up, down = (respond(kind, name, guess, 0.3 + sign * step, normalise)[0] for sign in (1, -1))
    assert respond(kind, name, guess, 0.3, normalise)[1] == pytest.approx((up - down) / (2 * step), abs=1e-5)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("kind", ["network", "linearised"])
@pytest.mark.parametrize("name", NAMES)
def test_learning_follows_the_gradient_of_the_coefficients(name: str, kind: str, normalise: bool) -> None:
    guess, step = 0.4 * np.random.default_rng(8).standard_normal((1, 1, K)), 1e-6
    learner = student(kind, name, guess, normalise)
    projected = np.random.default_rng(6).standard_normal((1, K))
    learner.respond(projected, np.full((1, 1), 0.3))
    learner.learn(np.ones((1, 1)))
    moved = (guess - learner.guess).ravel()
    for index in range(K):
        nudge = np.zeros((1, 1, K))
        nudge[..., index] = step
        up, down = (respond(kind, name, guess + sign * nudge, 0.3, normalise)[0] for sign in (1, -1))
        assert moved[index] == pytest.approx((up - down) / (2 * step), abs=1e-5)


@pytest.mark.parametrize("name", ["sigmoid", "quadratic", "he3"])
def test_the_linearised_student_is_the_first_order_of_the_network(name: str) -> None:
    """The difference shrinks with the square of the perturbation."""
    direction = np.random.default_rng(9).standard_normal((1, 1, K))
    gaps = []
    for size in (1e-2, 1e-3):
        outputs = [respond(kind, name, size * direction, 0.8, True)[0] for kind in ("network", "linearised")]
        gaps.append(abs(outputs[0] - outputs[1]))
    assert gaps[1] < 0.02 * gaps[0]
