import numpy as np
import pytest

from policy_server.lora.lab.recovery import linearised_limit, recover_coefficients
from tests.policy_server.lora.lab.small_lab import cells_of


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("activation", ["relu", "he3"])
def test_with_the_direction_known_every_sign_is_found(activation: str, side: int) -> None:
    (cell,) = cells_of(activation=activation)
    found = recover_coefficients(cell, np.full(2, float(side)), 0)
    assert (found.correct == 1).all()
    assert (found.loss_after < 1e-20).all()
    assert (found.loss_before > 0.01).all()
    assert (found.loss_of_regression < 1e-20).all()


def test_without_the_direction_the_signs_are_guesses() -> None:
    (cell,) = cells_of(neurons=(20,))
    found = recover_coefficients(cell, np.full(6, 1e-6), 0)
    assert 0.3 < found.correct.mean() < 0.7


def test_the_linearised_network_cannot_reach_a_strong_perturbation() -> None:
    weak, strong = (linearised_limit(cell, 3, 0) for cell in cells_of(activation="quadratic", strengths=(0.05, 1.0)))
    assert (strong > 0.2).all()
    assert (weak < 0.01 * strong).all()
