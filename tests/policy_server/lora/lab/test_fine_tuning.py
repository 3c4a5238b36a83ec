"""What online gradient descent finds, in settings where it takes a moment."""

from typing import Any

import numpy as np
import pytest

from policy_server.lora.lab.draws import draw_samples
from policy_server.lora.lab.teachers import answers, draw_teachers, through_rows
from tests.policy_server.lora.lab.small_lab import batch_of


def learn(blocks: int, instances: int = 8, **values: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and last losses, and overlaps² at the end."""
    batch = batch_of(instances, **values)
    first = batch.advance(0, 200)
    for block in range(1, blocks):
        last = batch.advance(block, 200)
    return first, last, batch.overlap() ** 2


def test_the_direction_is_found_and_the_loss_falls() -> None:
    first, last, overlap = learn(30, student="joint", dimensions=(20,), neurons=(5,))
    assert np.median(overlap) > 0.9
    assert np.median(last) < 0.5 * np.median(first)


def test_no_perturbation_to_learn_gives_no_loss() -> None:
    """A teacher that is the base network: ξ → 0."""
    first, _, _ = learn(2, strengths=(1e-6,), strength_unit="one", scales=(1e-15,))
    assert first.max() < 1e-8


def test_a_step_far_too_long_finds_nothing() -> None:
    _, _, overlap = learn(30, dimensions=(200,), scales=(20.0,))
    assert np.median(overlap) < 0.2


@pytest.mark.parametrize("coefficients", ["quantised", "spherical"])
def test_coefficients_have_length_one(coefficients: Any) -> None:
    teachers = draw_teachers(0, 4, 7, "separated", coefficients)
    for each in (teachers.coefficients, teachers.guess, teachers.second_layer):
        np.testing.assert_allclose(np.linalg.norm(each, axis=-1), 1)
    assert teachers.rows is not None
    np.testing.assert_allclose(np.linalg.norm(teachers.rows, axis=-1), 1)
    assert (np.abs(teachers.coefficients) == pytest.approx(np.sqrt(1 / 7))) == (coefficients == "quantised")


def test_separated_rows_see_correlated_inputs() -> None:
    teachers = draw_teachers(0, 2, 4, "separated", "quantised")
    assert teachers.rows is not None
    samples = draw_samples(0, 0, 20_000, 2, 4, "float64")
    projected = through_rows(teachers, samples.hidden)
    for index in range(2):
        wanted = teachers.rows[index] @ teachers.rows[index].T
        np.testing.assert_allclose(np.cov(projected[:, index].T), wanted, atol=0.05)


@pytest.mark.parametrize("normalise", [True, False])
def test_teachers_answer_as_the_formula_says(normalise: bool) -> None:
    from policy_server.lora.lab.activations import ACTIVATIONS

    teachers = draw_teachers(3, 2, 5, "orthonormal", "spherical")
    samples = draw_samples(3, 0, 4, 2, 5, "float64")
    found = answers(teachers, ACTIVATIONS["sigmoid"], 2.0, normalise, samples.hidden, samples.along)
    for step in range(4):
        for index in range(2):
            c = teachers.coefficients[index]
            z = samples.hidden[step, index] + 2.0 * c * samples.along[step, index]
            z = z / np.sqrt(1 + 4 * c**2) if normalise else z
            assert found[step, index] == pytest.approx(teachers.second_layer[index] @ (1 / (1 + np.exp(-z))))
