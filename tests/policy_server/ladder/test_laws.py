from dataclasses import replace

import numpy as np
import pytest

from policy_server.ladder.laws import (
    Group,
    descending,
    fit_law,
    group_values,
    hold_out_largest,
    last_quarters,
    permutation_p,
    predicted_quantiles,
)
from policy_server.ladder.plateau import PlateauValue
from policy_server.muon.spectrum import QUANTILES
from tests.policy_server.ladder.planted import SIZES, law_values


def group(values: list[PlateauValue]) -> Group:
    (found,) = group_values(values)
    return found


@pytest.mark.parametrize("alpha", [-0.1, 0.25, 0.6])
def test_a_planted_law_is_found(alpha: float) -> None:
    law = fit_law(group(law_values(alpha)), 0.95)
    assert (law.alpha, law.c, law.r2) == pytest.approx((alpha, 3, 1))
    assert law.alpha_random == pytest.approx(0.25)
    assert law.excess == pytest.approx(alpha - 0.25)
    assert law.sigma(10_000) == pytest.approx(3 * 10_000**-alpha)


def test_the_interval_holds_the_planted_exponent_and_noise_widens_it() -> None:
    little, much = (fit_law(group(law_values(0.3, noise)), 0.95) for noise in (0.02, 0.3))
    for law in (little, much):
        assert law.alpha_low < 0.3 < law.alpha_high and law.excess_low < 0.05 < law.excess_high
    assert much.alpha_high - much.alpha_low > 3 * (little.alpha_high - little.alpha_low)


def test_more_seeds_do_not_pass_for_more_sizes() -> None:
    """Seeds of a rung share how far the rung lies off the line."""
    bent = [1.0, 1.3, 1.0, 1.3, 1.0]
    one, many = (
        [each for size, factor in zip(SIZES, bent, strict=True) for each in _scaled(size, factor, seeds)]
        for seeds in (1, 6)
    )
    widths = [law.alpha_high - law.alpha_low for law in (fit_law(group(values), 0.95) for values in (one, many))]
    assert widths[0] == pytest.approx(widths[1])


def test_a_quantile_at_rounding_has_no_law_nor_has_one_size() -> None:
    values = law_values(0.3)
    deficient = [*values[:-1], law_values(0.3, rank_deficient=True)[-1]]
    assert group_values(deficient) == []
    assert group_values(values[:2]) == []


def test_shuffled_sizes_tell_a_law_from_none() -> None:
    assert permutation_p(law_values(0.3, 0.05)) < 0.01
    assert permutation_p(law_values(0.0, 0.3)) > 0.05


def test_without_a_law_the_permutation_test_errs_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    small = 0
    for _ in range(200):
        values = [_with_sigma(each, float(np.exp(generator.normal()))) for each in law_values(0.0)]
        small += permutation_p(values) < 0.2
    assert small / 200 == pytest.approx(0.2, abs=0.07)


def test_the_largest_size_is_predicted_from_the_others_alone() -> None:
    values = law_values(0.4)
    spoilt = [_with_sigma(each, 99.0) if each.parameters == SIZES[-1] else each for each in values]
    for data, measured in ((values, 3 * SIZES[-1] ** -0.4), (spoilt, 99.0)):
        held_out = hold_out_largest(group(data), 0.95)
        assert held_out is not None
        assert held_out.predicted == pytest.approx(3 * SIZES[-1] ** -0.4)
        assert held_out.measured == pytest.approx(measured)
    assert held_out.unchanged == pytest.approx(3 * SIZES[-2] ** -0.4)
    assert held_out.normalised == pytest.approx(3 * SIZES[-2] ** -0.4 * (SIZES[-1] / SIZES[-2]) ** -0.25)
    assert not held_out.is_within


def test_predictions_lie_within_their_interval_when_the_law_holds() -> None:
    held_out = hold_out_largest(group(law_values(0.4, 0.1)), 0.95)
    assert held_out is not None and held_out.is_within
    assert hold_out_largest(group([v for v in law_values(0.4) if v.parameters < SIZES[3]]), 0.95) is None


def test_a_steep_last_quarter_is_seen() -> None:
    values = [each for quarter in (1, 2, 3) for each in law_values(0.2, quarter=quarter)] + law_values(0.5, quarter=4)
    (steepness,) = last_quarters(group_values(values), 0.95)
    assert steepness.difference == pytest.approx(0.3)
    assert steepness.low == pytest.approx(0.3, abs=1e-6)
    assert last_quarters(group_values(law_values(0.5, quarter=4)), 0.95) == []


def test_predicted_quantiles_are_those_of_the_laws_at_that_size() -> None:
    values = [each for q in QUANTILES for each in law_values(0.3 + q, quantile=q)]
    laws = [fit_law(each, 0.95) for each in group_values(values)]
    predicted = predicted_quantiles(laws, "unet", 1e6)
    assert predicted.keys() == {("Q", 1)}
    assert predicted["Q", 1][0.5] == pytest.approx(3 * 1e6**-0.8)
    assert predicted_quantiles(laws, "transformer", 1e6) == {}


def test_one_quantile_above_rounding_is_enough_for_a_prediction() -> None:
    # Layers that see few distinct inputs, such as the step's, have little more.
    law = fit_law(group(law_values(0.4)), 0.95)
    assert predicted_quantiles([law], "unet", 1e6) == {("Q", 1): {law.quantile: law.sigma(1e6)}}


def test_crossing_laws_still_give_a_spectrum() -> None:
    assert descending({0.5: 2.0, 0.1: 1.0, 0.9: 0.5}) == {0.1: 1.0, 0.5: 1.0, 0.9: 0.5}


def _with_sigma(each: PlateauValue, sigma: float) -> PlateauValue:
    return replace(each, sigma=sigma)


def _scaled(size: int, factor: float, seeds: int) -> list[PlateauValue]:
    own = [each for each in law_values(0.3, seeds=seeds) if each.parameters == size]
    return [_with_sigma(each, each.sigma * factor) for each in own]
