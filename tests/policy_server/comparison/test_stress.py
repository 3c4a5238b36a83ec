import pytest

from policy_server.comparison.stress import LEVEL, ROWS, STRONG, WEAK_SIGMA, Stress, stress
from policy_server.muon.recipe import FIXED_FIVE
from policy_server.muon.response import failure_threshold


@pytest.fixture(scope="module")
def found() -> Stress:
    return stress()


def test_most_directions_are_planted_below_the_threshold_of_five_fixed_steps(found: Stress) -> None:
    assert found.inputs[STRONG:] == pytest.approx(WEAK_SIGMA, rel=1e-3)
    assert failure_threshold(FIXED_FIVE, LEVEL) > WEAK_SIGMA


def test_five_fixed_steps_fail_there_and_the_recipe_does_not(found: Stress) -> None:
    torchs, five, recipe = found.contestants
    assert torchs.failed == five.failed == ROWS - STRONG and recipe.failed == 0
    assert recipe.flops < five.flops


def test_what_fails_is_what_the_threshold_says(found: Stress) -> None:
    for each in found.contestants:
        assert each.failed == int((found.inputs < each.threshold).sum())


def test_a_training_with_the_recipe_arrives_and_one_with_five_steps_does_not(found: Stress) -> None:
    torchs, five, recipe = (each.distance for each in found.contestants)
    assert torchs[0] == five[0] == recipe[0] == pytest.approx(1.0)
    assert min(torchs[-1], five[-1]) > 0.8 and recipe[-1] < 0.1
