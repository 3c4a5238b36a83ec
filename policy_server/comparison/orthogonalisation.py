"""What an optimizer's orthonormalisation costs and misses, on the momenta that it has."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from policy_server.muon.adaptive import AdaptiveConfig
from policy_server.muon.configuration import PolarConfig
from policy_server.muon.cost import flops
from policy_server.muon.optimizer import Muon
from policy_server.muon.polar import orthonormalise
from policy_server.muon.recipe import FIXED_FIVE, ROUNDING
from policy_server.training.optimizers import TrainingOptimizer
from policy_server.training.torch_muon import TorchMuon

# What torch.optim.Muon does by default.
TORCHS = PolarConfig("jordan", 5, "direct", "bfloat16")

_EXACT = PolarConfig("eigh", 1, "gram")


@dataclass(frozen=True)
class Orthogonalisation:
    """Of one step: ``numbers`` entries of matrices, FLOPs and errors as in ``Measurement``."""

    numbers: int
    flops: float
    flops_of_fixed_five: float
    flops_of_measuring: float
    error: float
    error_of_fixed_five: float


def polar_configs(optimizer: TrainingOptimizer) -> dict[str, PolarConfig]:
    """Name → how its momentum is orthonormalised now; empty for AdamW."""
    if isinstance(optimizer, TorchMuon):
        return dict.fromkeys(optimizer.names, TORCHS)
    return optimizer.configurations() if isinstance(optimizer, Muon) else {}


def last_matrices(optimizer: TrainingOptimizer) -> dict[str, Tensor]:
    """Name → what the last step orthonormalised, (parts, rows, columns)."""
    return dict(optimizer.matrices()) if isinstance(optimizer, Muon | TorchMuon) else {}


def assess(matrices: Mapping[str, Tensor], configs: Mapping[str, PolarConfig]) -> Orthogonalisation:
    """FLOPs and real errors of ``configs`` on ``matrices``, beside those of five fixed steps."""
    spent = fixed = measuring = 0.0
    squares = {"own": 0.0, "fixed": 0.0}
    numbers = directions = 0
    for name, each in matrices.items():
        numbers += each.numel()
        spent += len(each) * flops(configs[name], *each.shape[1:])
        fixed += len(each) * flops(FIXED_FIVE, *each.shape[1:])
        measuring += len(each) * flops(_EXACT, *each.shape[1:])
        results = {"own": orthonormalise(each, configs[name]), "fixed": orthonormalise(each, FIXED_FIVE)}
        for part, matrix in enumerate(each):
            left, right = directions_of(matrix)
            directions += left.shape[1]
            for key, result in results.items():
                squares[key] += float((left.T @ result[part].double() - right).square().sum())
    return Orthogonalisation(
        numbers,
        spent,
        fixed,
        measuring,
        math.sqrt(squares["own"] / max(1, directions)),
        math.sqrt(squares["fixed"] / max(1, directions)),
    )


def directions_of(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Left (rows, k) and right (k, columns) singular vectors, float64, of the k directions above rounding."""
    left, sigma, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    kept = sigma > ROUNDING * torch.linalg.vector_norm(sigma)
    return left[:, kept], right[kept]


def flops_of_run(each: Orthogonalisation, steps: int, adaptive: AdaptiveConfig | None) -> float:
    """An upper bound: with ``adaptive``, the burn-in counts as five fixed steps and each measurement as an exact orthonormalisation."""
    if adaptive is None:
        return steps * each.flops
    burn_in = min(steps, adaptive.burn_in)
    measurements = sum(adaptive.is_due(step) for step in range(1, steps + 1))
    return burn_in * each.flops_of_fixed_five + (steps - burn_in) * each.flops + measurements * each.flops_of_measuring
