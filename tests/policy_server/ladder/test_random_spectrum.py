import numpy as np
import pytest

from policy_server.ladder.random_spectrum import random_quantile
from policy_server.muon.spectrum import QUANTILES, quantile


@pytest.mark.parametrize(("rows", "columns"), [(120, 120), (60, 240), (200, 80)])
def test_it_is_the_spectrum_of_a_random_matrix(rows: int, columns: int) -> None:
    matrices = np.random.default_rng(0).normal(size=(6, rows, columns))
    sigma = np.linalg.svd(matrices, compute_uv=False)
    sigma /= np.linalg.norm(sigma, axis=1, keepdims=True)
    for q in QUANTILES:
        measured = float(np.mean([quantile(each, q) for each in sigma]))
        assert random_quantile(rows, columns, q) == pytest.approx(measured, rel=0.03)


@pytest.mark.parametrize("q", QUANTILES)
def test_it_shrinks_with_the_root_of_the_rank_alone(q: float) -> None:
    assert random_quantile(200, 600, q) == pytest.approx(random_quantile(800, 2400, q) * 2, rel=0.01)
    assert random_quantile(64, 256, q) == random_quantile(256, 64, q)
