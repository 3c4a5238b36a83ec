import math

import pytest

from policy_server.ladder.findings import held_out_findings, law_findings, plateau_findings, steep_findings
from policy_server.ladder.laws import HeldOut, Steepness, fit_law, group_values
from tests.policy_server.ladder.planted import law_values


def test_a_plateau_is_told_by_how_much_moves_before_and_on_it() -> None:
    values = [each for drift in (-0.3, 0.1, 0.2) for each in law_values(0.2, drift=drift, burn_in=-1.0)]
    (finding,) = plateau_findings(values)
    assert finding.burn_in == pytest.approx(math.e)
    assert finding.drift == pytest.approx(math.exp(0.2)) and finding.drift_90 == pytest.approx(math.exp(0.3))


def test_laws_are_counted_by_what_their_intervals_exclude() -> None:
    values = [
        each
        for kind, alpha in zip("QKV", (0.3, -0.2, 0.25), strict=True)
        for each in law_values(alpha, 0.02, type=kind)
    ]
    values += law_values(0.0, 0.6, type="O")
    (finding,) = law_findings([fit_law(group, 0.95) for group in group_values(values)])
    assert (finding.laws, finding.falling, finding.rising) == (4, 2, 1)
    assert finding.beyond_noise == 2  # V's exponent is that of noise, and O's may be
    assert finding.alpha_least == pytest.approx(-0.2, abs=0.03)


def test_guesses_are_judged_by_the_factor_they_are_off() -> None:
    def held_out(predicted: float, low: float, high: float) -> HeldOut:
        return HeldOut("unet", "Q", 1, 0.5, 10, 1.0, predicted, low, high, 3.0, 0.5)

    (finding,) = held_out_findings([held_out(1.1, 0.9, 1.3), held_out(0.5, 0.4, 0.6), held_out(1.1, 0.9, 1.3)])
    assert (finding.predictions, finding.within) == (3, 2)
    assert (finding.off, finding.off_unchanged, finding.off_normalised) == pytest.approx((1.1, 3.0, 2.0))


def test_steeper_and_flatter_last_quarters_are_counted() -> None:
    bounds = [(0.1, 0.3), (-0.3, -0.1), (-0.1, 0.2)]
    (finding,) = steep_findings([Steepness("unet", "Q", 0.5, (low + high) / 2, low, high) for low, high in bounds])
    assert (finding.compared, finding.steeper, finding.flatter) == (3, 1, 1)
