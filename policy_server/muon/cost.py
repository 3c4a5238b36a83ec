"""What a polar configuration costs: arithmetic, and time in units of a product; the cheapest algebraic form per shape."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from policy_server.muon.coefficients import Coefficients
from policy_server.muon.configuration import Form, PolarConfig

# Arithmetic of the factorisations of an m x m matrix, in m³ (Golub & Van Loan, Matrix Computations, 4th ed., 8.3 and 4.2).
EIGH_ARITHMETIC = 9.0
CHOLESKY_INVERSE_ARITHMETIC = 1.0


@dataclass(frozen=True)
class CostModel:
    """How long a factorisation or a product takes, in FLOPs of a float32 product that takes as long.

    ``eigh`` and ``cholesky_inverse``: per m³, of matrices of each of ``sides``; between them interpolated over log m, beyond them
    constant. ``bfloat16``: a bfloat16 product's time over a float32 product's. The declared figures are those of one core with
    AVX-512, rounded; ``measure_costs`` measures the machine at hand.
    """

    sides: tuple[int, ...] = (64, 128, 256, 512)
    eigh: tuple[float, ...] = (49.0, 31.0, 22.0, 15.0)
    cholesky_inverse: tuple[float, ...] = (10.0, 10.0, 4.7, 3.3)
    bfloat16: float = 1.0

    def factor(self, per_side: tuple[float, ...], side: int) -> float:
        """``eigh`` or ``cholesky_inverse`` for matrices of ``side``."""
        return float(np.interp(math.log(side), np.log(self.sides), per_side))


ARITHMETIC = CostModel((1,), (EIGH_ARITHMETIC,), (CHOLESKY_INVERSE_ARITHMETIC,), 1.0)


def flops(config: PolarConfig, rows: int, columns: int) -> float:
    """Arithmetic of orthonormalising one matrix, in FLOPs; a multiplication and an addition count two.

    Elementwise work is left out: it is smaller by the order of the matrix. A form ``cheapest`` counts as the one it resolves to.
    """
    return cost(config, rows, columns, ARITHMETIC)


def cost(config: PolarConfig, rows: int, columns: int, model: CostModel) -> float:
    """Time of orthonormalising one matrix, in FLOPs of a float32 product that takes as long."""
    short, long = sorted((rows, columns))
    if config.form == "cheapest":
        return cost(replace(config, form=cheapest_form(config, rows, columns, model)), rows, columns, model)
    small, large = 2.0 * short**3, 2.0 * short**2 * long
    rounded = model.bfloat16 if config.precision == "bfloat16" else 1.0
    if config.form == "direct":
        return rounded * sum(2 * large + (small if c else 0.0) for _, _, c in config.triples())
    # On a CPU only the last product is rounded.
    segments = config.segments()
    products = large * (2 * len(segments) - 1 + rounded)
    return products + sum(_on_gram(config, steps, short, model) for steps in segments)


def cheapest_form(config: PolarConfig, rows: int, columns: int, model: CostModel) -> Form:
    """``direct`` or ``gram``, whichever takes less time for this shape; the direct one when they take the same."""
    if not config.is_polynomial:
        return "gram"
    forms: tuple[Form, Form] = ("direct", "gram")
    return min(forms, key=lambda form: cost(replace(config, form=form), rows, columns, model))


def resolve_form(config: PolarConfig, rows: int, columns: int, model: CostModel) -> PolarConfig:
    """``config`` with the form ``cheapest`` replaced by the one that is."""
    return replace(config, form=cheapest_form(config, rows, columns, model)) if config.form == "cheapest" else config


def measure_costs(
    device: torch.device | str = "cpu", sides: tuple[int, ...] = (64, 128, 256, 512), repetitions: int = 5
) -> CostModel:
    """The cost model of this machine, from the shortest time of each operation on matrices of each of ``sides``."""
    ratios = [_measured_ratios(device, side, repetitions) for side in sides]
    eigh, inverse, rounded = zip(*ratios, strict=True)
    return CostModel(sides, eigh, inverse, rounded[-1])


def _measured_ratios(device: torch.device | str, side: int, repetitions: int) -> tuple[float, float, float]:
    """Time per m³ of eigh and of the inverse, and of a bfloat16 product, over that of a float32 product."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(1, side, side, generator=generator).to(device)
    gram = matrix @ matrix.mT / side
    gram.diagonal(dim1=-2, dim2=-1).add_(1.0)
    rounded = matrix.bfloat16()
    operations: list[Callable[[], Tensor]] = [
        lambda: matrix @ matrix,
        lambda: rounded @ rounded,
        lambda: torch.linalg.eigh(gram).eigenvectors,
        lambda: torch.cholesky_inverse(torch.linalg.cholesky_ex(gram).L),
    ]
    product_s, rounded_s, eigh_s, inverse_s = (_shortest_s(operation, repetitions) for operation in operations)
    return 2 * eigh_s / product_s, 2 * inverse_s / product_s, rounded_s / product_s


def _on_gram(config: PolarConfig, steps: tuple[Coefficients, ...], side: int, model: CostModel) -> float:
    """Cost of computing Q from the Gram matrix."""
    cube, product = float(side**3), 2.0 * side**3
    if config.method == "eigh":
        return model.factor(model.eigh, side) * cube + product
    later = len(steps) - 1  # the first step gathers nothing, the last leaves the Gram matrix as it is
    if config.method == "halley":
        return len(steps) * model.factor(model.cholesky_inverse, side) * cube + 2 * later * product
    squares = sum(1 for _, _, c in steps if c)
    return (squares + 3 * later) * product


def _shortest_s(operation: Callable[[], Tensor], repetitions: int) -> float:
    operation()
    durations_s = []
    for _ in range(repetitions):
        _wait(operation())
        start_s = time.perf_counter()
        _wait(operation())
        durations_s.append(time.perf_counter() - start_s)
    return min(durations_s)  # what else the machine does only ever adds


def _wait(result: Tensor) -> None:
    if result.is_cuda:
        torch.cuda.synchronize(result.device)
