"""The spectrum's statistic against the SVD, and spectra made up from a few quantiles."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policy_server.muon.spectrum import QUANTILES, quantile, schatten4, singular_values, spectrum_from_quantiles
from tests.policy_server.muon.planted import planted


@pytest.mark.parametrize("shape", [(20, 20), (20, 70), (70, 20), (1, 5)])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e20])
def test_singular_values_are_those_of_the_svd_after_normalising(shape: tuple[int, int], scale: float) -> None:
    sigma = torch.logspace(0, -6, min(shape), dtype=torch.float64)
    batch = torch.stack([planted(*shape, sigma, seed) for seed in range(2)]) * scale
    measured = singular_values(batch)
    assert measured.shape == (2, min(shape))
    torch.testing.assert_close(measured, (sigma / sigma.norm()).expand(2, -1), atol=1e-9, rtol=1e-3)


def test_float32_momenta_are_measured_far_below_every_threshold() -> None:
    sigma = torch.logspace(0, -5, 64, dtype=torch.float64)
    measured = singular_values(planted(64, 64, sigma).float()[None])[0]
    torch.testing.assert_close(measured, sigma / sigma.norm(), atol=2e-7, rtol=0.05)


def test_a_zero_matrix_has_a_zero_spectrum() -> None:
    assert torch.equal(singular_values(torch.zeros(1, 4, 6)), torch.zeros(1, 4, dtype=torch.float64))
    assert schatten4(np.zeros(4)) == 1.0


@pytest.mark.parametrize(("q", "rank"), [(0.1, 1), (0.25, 3), (0.5, 5), (0.75, 8), (0.9, 9), (0.01, 1), (1.0, 10)])
def test_a_quantile_is_counted_from_the_top(q: float, rank: int) -> None:
    assert quantile(np.arange(10.0, 0.0, -1.0), q) == 11 - rank


@given(st.lists(st.floats(1e-6, 0.05), min_size=5, max_size=5), st.integers(40, 300))
def test_a_spectrum_from_quantiles_has_them(values: list[float], rank: int) -> None:
    given_quantiles = dict(zip(QUANTILES, sorted(values, reverse=True), strict=True))
    sigma = spectrum_from_quantiles(given_quantiles, rank)
    assert np.all(np.diff(sigma) <= 1e-15)
    assert np.sum(sigma**2) <= 1 + 1e-9
    shrink = sigma[rank // 2] / max(sigma[rank // 2], 1e-300)  # one unless the spectrum was scaled down
    if np.sum(sigma**2) < 0.999:
        for q, value in given_quantiles.items():
            below, above = quantile(sigma, q), quantile(sigma, max(q - 2 / rank, 1 / rank))
            assert below <= value * (1 + 1e-9) * shrink
            assert above >= value * (1 - 1e-9)
