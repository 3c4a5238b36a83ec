import pytest
import torch

from policy_server.comparison.orthogonalisation import (
    TORCHS,
    Orthogonalisation,
    assess,
    directions_of,
    flops_of_run,
    last_matrices,
    polar_configs,
)
from policy_server.muon.adaptive import AdaptiveConfig
from policy_server.muon.configuration import PolarConfig
from policy_server.muon.cost import flops
from policy_server.muon.recipe import FIXED_FIVE
from policy_server.muon.response import orthogonalisation_error
from policy_server.training.configuration import OptimizerConfig
from policy_server.training.optimizers import make_optimizer

EXACT = PolarConfig("eigh", 1, "gram", "float64")
SIGMA = torch.logspace(0, -2, 16, dtype=torch.float64)


@pytest.fixture
def matrices() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(2, 16, 16, generator=generator, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(2, 24, 16, generator=generator, dtype=torch.float64))[0]
    return {"w": ((left * SIGMA) @ right.mT).float()}


def test_errors_are_those_that_the_response_foretells(matrices: dict[str, torch.Tensor]) -> None:
    found = assess(matrices, {"w": EXACT})
    assert found.error < 1e-4
    sigma = (SIGMA / SIGMA.norm()).numpy()
    assert found.error_of_fixed_five == pytest.approx(orthogonalisation_error(FIXED_FIVE, sigma), rel=0.02)


def test_flops_are_counted_for_every_part(matrices: dict[str, torch.Tensor]) -> None:
    found = assess(matrices, {"w": EXACT})
    assert found.numbers == 2 * 16 * 24
    assert (found.flops, found.flops_of_fixed_five) == (2 * flops(EXACT, 16, 24), 2 * flops(FIXED_FIVE, 16, 24))


def test_directions_that_rounding_made_are_left_out() -> None:
    matrix = torch.outer(torch.arange(1.0, 9.0), torch.arange(1.0, 13.0))
    left, right = directions_of(matrix + 1e-9 * torch.randn(8, 12, generator=torch.Generator().manual_seed(0)))
    assert left.shape == (8, 1) and right.shape == (1, 12)


def test_tall_matrices_are_as_good_as_wide_ones(matrices: dict[str, torch.Tensor]) -> None:
    wide, tall = (assess(each, {"w": TORCHS}) for each in (matrices, {"w": matrices["w"].mT.contiguous()}))
    assert wide.error == pytest.approx(tall.error, rel=0.02)


def test_a_runs_arithmetic_has_its_burn_in_and_its_measurements() -> None:
    each = Orthogonalisation(
        1, flops=2.0, flops_of_fixed_five=10.0, flops_of_measuring=7.0, error=0, error_of_fixed_five=0
    )
    assert flops_of_run(each, 100, None) == 200
    assert flops_of_run(each, 100, AdaptiveConfig(20, 5)) == 20 * 10 + 80 * 2 + 4 * 7
    assert flops_of_run(each, 100, AdaptiveConfig(20, 5, refresh_every=40)) == 20 * 10 + 80 * 2 + 6 * 7
    assert flops_of_run(each, 10, AdaptiveConfig(20, 5)) == 10 * 10 + 2 * 7


@pytest.mark.parametrize(("kind", "names"), [("adamw", []), ("torch_muon", ["1.weight"]), ("muon", ["1.weight"])])
def test_each_optimizer_says_what_it_orthonormalises_and_how(kind: str, names: list[str]) -> None:
    model = torch.nn.Sequential(*(torch.nn.Linear(a, b) for a, b in ((4, 32), (32, 32), (32, 4))))
    optimizer = make_optimizer(model, OptimizerConfig(kind=kind), processes=1)  # type: ignore[arg-type]
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    assert list(last_matrices(optimizer)) == list(polar_configs(optimizer)) == names
    if kind == "torch_muon":
        assert polar_configs(optimizer)["1.weight"] == TORCHS
