"""Every method against the SVD's polar factor: over shapes, ranks, scales, precisions and batches."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policy_server.muon import polar
from policy_server.muon.configuration import PolarConfig
from policy_server.muon.polar import orthonormalise, polar_factor
from policy_server.muon.response import response
from tests.policy_server.muon.planted import planted

CONVERGED = {
    "polar express, direct": PolarConfig("polar_express", 10, "direct"),
    "polar express, gram": PolarConfig("polar_express", 10, "gram"),
    "polar express, restarted": PolarConfig("polar_express", 10, "gram", restart_every=3),
    "cubic, direct": PolarConfig("cubic", 25, "direct"),
    "cubic, gram": PolarConfig("cubic", 25, "gram"),
    "custom": PolarConfig("custom", 25, "direct", coefficients=((1.5, -0.5, 0.0),)),
    "halley": PolarConfig("halley", 4, "gram"),
    "eigh": PolarConfig("eigh", 1, "gram"),
    "schatten4, direct": PolarConfig("polar_express", 10, "direct", scale="schatten4"),
    "schatten4, gram": PolarConfig("halley", 4, "gram", scale="schatten4"),
    "float64": PolarConfig("halley", 5, "gram", "float64"),
}
SHAPES = [(1, 1), (1, 7), (9, 1), (16, 16), (24, 64), (64, 24), (33, 32)]


@pytest.mark.parametrize("config", CONVERGED.values(), ids=CONVERGED.keys())
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e15])
def test_converged_methods_find_the_polar_factor(config: PolarConfig, shape: tuple[int, int], scale: float) -> None:
    matrix = planted(*shape, torch.logspace(0, -1.5, min(shape), dtype=torch.float64))
    result = orthonormalise((matrix * scale).float(), config)
    assert result.shape == matrix.shape
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), polar_factor(matrix), atol=2e-3, rtol=0)


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(-20, 15),
    st.integers(0, 10**6),
    st.sampled_from(sorted(CONVERGED)),
)
def test_singular_vectors_are_kept_whatever_the_matrix(
    rows: int, columns: int, scale: int, seed: int, name: str
) -> None:
    """A polar factor O of M makes O Mᵀ symmetric and positive semidefinite, however well its values have converged."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    product = orthonormalise((matrix * 10.0**scale).float(), CONVERGED[name]).double() @ matrix.T
    assert (product - product.T).norm() <= 1e-4 * matrix.norm()
    assert torch.linalg.eigvalsh(product + product.T).min() >= -1e-4 * matrix.norm()


@pytest.mark.parametrize(
    "config",
    [
        PolarConfig("jordan", 5, "direct"),
        PolarConfig("jordan", 5, "gram"),
        PolarConfig("jordan", 5, "gram", restart_every=2),
        PolarConfig("polar_express", 3, "gram"),
        PolarConfig("polar_express", 4, "direct", scale="schatten4"),
        PolarConfig("polar_express", 8, "gram", scale="schatten4"),
        PolarConfig("cubic", 6, "gram"),
        PolarConfig("halley", 1, "gram", lower=1e-2),
        PolarConfig("halley", 2, "gram", scale="schatten4"),
        PolarConfig("halley", 3, "gram", lower=1e-4),
        PolarConfig("halley", 4, "gram", lower=1e-4, restart_every=2),
        PolarConfig("eigh", 1, "gram"),
    ],
    ids=lambda config: f"{config.method}{config.steps}-{config.form}-{config.scale}-{config.restart_every}",
)
def test_every_direction_comes_out_as_the_response_says(config: PolarConfig) -> None:
    sigma = torch.logspace(0, -4, 48, dtype=torch.float64)
    sigma = sigma / sigma.norm()
    matrix = planted(48, 120, sigma)
    factor = polar_factor(matrix)
    left = torch.linalg.svd(matrix)[0]
    output = (left.T @ orthonormalise(matrix.float(), config).double() @ factor.T @ left).diagonal()
    schatten4 = float((sigma**4).sum() ** 0.25)
    expected = response(config, sigma.numpy(), schatten4=schatten4, rank=48)
    # Near the Gram form's floor, rounding shows; most of all in the eigenvalues of LAPACK.
    tolerance = 0.1 if config.method == "eigh" else 0.03 if config.form == "gram" else 2e-3
    np.testing.assert_allclose(output.numpy(), expected, atol=tolerance)


@pytest.mark.parametrize("config", CONVERGED.values(), ids=CONVERGED.keys())
@pytest.mark.parametrize("shape", [(12, 30), (30, 12)])
def test_zero_stays_zero_also_beside_others_in_a_batch(config: PolarConfig, shape: tuple[int, int]) -> None:
    matrix = planted(*shape, torch.ones(12, dtype=torch.float64)).float()
    batch = torch.stack([torch.zeros(shape), matrix])
    result = orthonormalise(batch, config)
    assert torch.equal(result[0], torch.zeros(shape))
    torch.testing.assert_close(result[1].double(), polar_factor(matrix), atol=2e-3, rtol=0)


@pytest.mark.parametrize("config", CONVERGED.values(), ids=CONVERGED.keys())
@pytest.mark.parametrize("rank", [1, 3])
def test_missing_directions_of_a_rank_deficient_matrix_are_not_made_up(config: PolarConfig, rank: int) -> None:
    matrix = planted(20, 33, torch.linspace(1, 0.3, rank, dtype=torch.float64))
    result = orthonormalise(matrix.float(), config).double()
    factor = polar_factor(matrix)
    assert torch.linalg.matrix_rank(factor, atol=1e-6) == rank
    torch.testing.assert_close(result @ factor.T @ factor, factor, atol=2e-3, rtol=0)
    # What float32's rounding of the input adds lies 1e-7 below; no method may lift it to more than a trace.
    assert torch.linalg.svdvals(result)[rank] < 0.05


@pytest.mark.parametrize("config", CONVERGED.values(), ids=CONVERGED.keys())
def test_a_batch_is_done_matrix_by_matrix(config: PolarConfig) -> None:
    batch = torch.stack([planted(10, 25, torch.rand(10, dtype=torch.float64) + 0.1, seed).float() for seed in range(6)])
    together = orthonormalise(batch.view(2, 3, 10, 25), config)
    apart = torch.stack([orthonormalise(each, config) for each in batch]).view(2, 3, 10, 25)
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", ["direct", "gram"])
@pytest.mark.parametrize("shape", [(32, 80), (80, 32)])
def test_bfloat16_is_near_float32(form: str, shape: tuple[int, int]) -> None:
    matrix = planted(*shape, torch.logspace(0, -1.5, 32, dtype=torch.float64)).float()
    full = orthonormalise(matrix, PolarConfig("polar_express", 5, form))  # type: ignore[arg-type]
    rounded = orthonormalise(matrix, PolarConfig("polar_express", 5, form, "bfloat16"))  # type: ignore[arg-type]
    error = (rounded - full).norm() / full.norm()
    assert 1e-5 < error < 0.05


def test_the_result_has_the_dtype_of_the_matrix() -> None:
    matrix = planted(8, 12, torch.ones(8, dtype=torch.float64))
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        assert orthonormalise(matrix.to(dtype), PolarConfig()).dtype == dtype


def test_the_callers_matrix_is_left_as_it_is() -> None:
    matrix = planted(8, 12, torch.ones(8, dtype=torch.float64)).float()
    before = matrix.clone()
    for config in CONVERGED.values():
        orthonormalise(matrix, config)
    assert torch.equal(matrix, before)


@pytest.mark.parametrize("fails", [False, True])
def test_reduced_precision_that_the_program_allows_does_not_reach_the_gram_form(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    seen, genuine = [], polar.halley_factor

    def watching(*arguments: Any) -> torch.Tensor:
        seen.append((torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision))
        if fails:
            raise KeyboardInterrupt
        return genuine(*arguments)

    monkeypatch.setattr(polar, "halley_factor", watching)
    torch.set_float32_matmul_precision("medium")
    try:
        with pytest.raises(KeyboardInterrupt) if fails else nullcontext():
            orthonormalise(torch.eye(8), PolarConfig("halley", 2, "gram"))
        assert seen == [("ieee", "ieee")]
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_directions_below_the_first_gram_matrix_are_reached_by_a_restart() -> None:
    sigma = torch.cat([torch.ones(16), torch.full((16,), 3e-5)]).double()
    matrix = planted(32, 64, sigma)
    factor = polar_factor(matrix)
    left = torch.linalg.svd(matrix)[0]

    def weakest(config: PolarConfig) -> float:
        result = orthonormalise(matrix.float(), config).double()
        return float((left.T @ result @ factor.T @ left).diagonal().abs().min())

    assert weakest(PolarConfig("polar_express", 16, "gram")) < 0.3
    assert weakest(PolarConfig("polar_express", 16, "gram", restart_every=4)) > 0.9


@pytest.mark.parametrize("form", ["direct", "gram"])
def test_the_factor_of_a_transposed_matrix_is_the_transposed_factor(form: str) -> None:
    matrices = torch.randn(3, 12, 40, generator=torch.Generator().manual_seed(0))
    config = PolarConfig("jordan", 5, form)  # type: ignore[arg-type]
    wide = orthonormalise(matrices, config)
    for tall in (matrices.mT, matrices.mT.contiguous()):
        torch.testing.assert_close(orthonormalise(tall, config).mT, wide, atol=1e-5, rtol=0)
