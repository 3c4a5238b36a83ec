import numpy as np
import pytest

from policy_server.lora.lab.exponents import fit_medians, fit_paired

SIZES = (100, 200, 400, 800)


def planted(exponent: float, instances: int = 15, noise: float = 0.1) -> np.ndarray:
    """Instances that differ much from each other, and little from a power law of their own."""
    source = np.random.default_rng(0)
    own = np.exp(source.standard_normal(instances))
    return 7 * np.power(SIZES, exponent)[:, None] * own * np.exp(noise * source.standard_normal((4, instances)))


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_a_planted_exponent_is_within_its_interval(exponent: float) -> None:
    fit = fit_paired(SIZES, planted(exponent), resamples=300)
    assert fit.low <= exponent <= fit.high
    assert fit.high - fit.low < 0.2
    assert fit.used == fit.instances == 15


def test_an_exact_law_is_found_exactly_whatever_the_teachers() -> None:
    fit = fit_paired(SIZES, planted(1.5, noise=0), resamples=50)
    assert (fit.value, fit.low, fit.high) == pytest.approx((1.5, 1.5, 1.5))


def test_the_factor_fits_the_exponent() -> None:
    steps = np.tile(3 * np.power(SIZES, 2.0)[:, None], 4)
    assert fit_paired(SIZES, steps, resamples=50).factor == pytest.approx(3)


def test_instances_that_never_arrived_somewhere_are_left_out_and_counted() -> None:
    steps = planted(1.0, noise=0)
    steps[2, 4] = steps[:, 7] = np.inf
    fit = fit_paired(SIZES, steps, resamples=50)
    assert fit.value == pytest.approx(1.0)
    assert (fit.used, fit.instances) == (13, 15)


def test_too_few_that_arrived_give_no_exponent() -> None:
    steps = planted(1.0)
    steps[3, 2:] = np.inf
    assert np.isnan(fit_paired(SIZES, steps, resamples=50).value)


def test_more_confidence_is_a_wider_interval() -> None:
    narrow, wide = (fit_paired(SIZES, planted(1.0), each, 500) for each in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def independent(exponent: float, instances: int = 25) -> np.ndarray:
    """Other teachers at every size."""
    own = np.exp(0.3 * np.random.default_rng(1).standard_normal((4, instances)))
    return 7 * np.power(SIZES, exponent)[:, None] * own


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_an_exponent_of_medians_is_within_its_interval(exponent: float) -> None:
    fit = fit_medians(SIZES, independent(exponent), resamples=300)
    assert fit.low <= exponent <= fit.high
    assert fit.high - fit.low < 0.5


def test_some_that_never_arrived_count_as_late_ones() -> None:
    steps = independent(1.0)
    latest = steps.argmax(axis=1)
    without = fit_medians(SIZES, steps, resamples=50)
    steps[np.arange(4), latest] = np.inf
    assert fit_medians(SIZES, steps, resamples=50).value == pytest.approx(without.value)


def test_a_median_that_may_be_infinite_has_no_bounded_interval() -> None:
    steps = independent(1.0)
    steps[3, np.argsort(steps[3])[-12:]] = np.inf
    fit = fit_medians(SIZES, steps, resamples=300)
    assert np.isfinite(fit.value) and np.isinf(fit.high) and np.isinf(fit.low)
    steps[3] = np.inf
    assert np.isnan(fit_medians(SIZES, steps, resamples=50).value)
