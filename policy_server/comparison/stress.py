"""A spectrum that five fixed steps cannot orthonormalise: most directions of a matrix planted below their failure threshold.

It is shown twice: what comes out of such a matrix, and what it costs a training. The training is a linear problem whose curvature is
small along most directions, as it is where features are strongly correlated, and whose other directions carry noise that never
settles, as that of batches does: its gradients keep the planted spectrum.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policy_server.comparison.orthogonalisation import TORCHS, directions_of
from policy_server.muon.configuration import PolarConfig, describe_config
from policy_server.muon.cost import CostModel, flops
from policy_server.muon.optimizer import Muon
from policy_server.muon.polar import orthonormalise
from policy_server.muon.recipe import FIXED_FIVE, LayerSpectrum, RecipeConfig, choose_layer
from policy_server.muon.response import failure_threshold
from policy_server.muon.spectrum import part_spectra

ROWS, COLUMNS = 64, 160
STRONG = 24  # of 64 directions: so the upper half, which the recipe must serve, reaches into the weak ones
WEAK_SIGMA = 1e-4  # of M / ‖M‖_F; five steps of Jordan's quintic fail below 2e-4
LEVEL = 0.1
STEPS, LEARNING_RATE = 40, 0.08

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Stressed:
    """One configuration: singular values (64,) that come out of the planted matrix, in the order of those that went in; how many lie
    below a tenth; its failure threshold there; FLOPs; and the distance (steps + 1,) left to the optimum along the weak
    directions, as a share of the first, while a matrix is trained with it."""

    name: str
    config: str
    outputs: Numbers
    failed: int
    threshold: float
    flops: float
    distance: Numbers


@dataclass(frozen=True)
class Stress:
    """The singular values (64,) of M / ‖M‖_F that went in, and what became of them."""

    inputs: Numbers
    contestants: tuple[Stressed, ...]


def stress() -> Stress:
    """Seeds are fixed; takes a second."""
    left, right = _orthonormal(ROWS, 0), _orthonormal(COLUMNS, 1)
    strong = torch.ones(STRONG, dtype=torch.float64)
    weak = torch.full((ROWS - STRONG,), WEAK_SIGMA * STRONG**0.5, dtype=torch.float64)
    curvature = torch.cat([strong, weak])
    matrix = ((left * curvature) @ right.T).float()
    (spectrum,) = part_spectra(matrix[None])
    recipe = choose_layer(LayerSpectrum(ROWS, COLUMNS, (spectrum,)), RecipeConfig(level=LEVEL), CostModel())
    configs = {"torch.optim.Muon": TORCHS, "five fixed steps": FIXED_FIVE, "recipe": recipe}
    return Stress(spectrum, tuple(_contestants(configs, matrix, left, right, curvature)))


def _contestants(
    configs: Mapping[str, PolarConfig], matrix: Tensor, left: Tensor, right: Tensor, curvature: Tensor
) -> list[Stressed]:
    found = []
    for name, config in configs.items():
        outputs = _outputs(matrix, config)
        found.append(
            Stressed(
                name,
                describe_config(config),
                outputs,
                int((outputs < LEVEL).sum()),
                failure_threshold(config, LEVEL, schatten4=_schatten4(matrix), rank=ROWS),
                flops(config, ROWS, COLUMNS),
                _training(config, left, right, curvature),
            )
        )
    return found


def _outputs(matrix: Tensor, config: PolarConfig) -> Numbers:
    left, right = directions_of(matrix)
    return (left.T @ orthonormalise(matrix, config).double() @ right.T).diagonal().numpy()


def _training(config: PolarConfig, left: Tensor, right: Tensor, curvature: Tensor) -> Numbers:
    """Minimise Σ cᵢ (uᵢᵀ (W - W*) vᵢ)² / 2 from W = 0, where W* is one along every direction; the weak directions' distance.

    The learning rate falls to zero along a line.
    """
    target = (left @ right.T).float()
    weight = torch.nn.Parameter(torch.zeros(ROWS, COLUMNS))
    optimizer = Muon([weight], lr=LEARNING_RATE, scaling="none", weight_decay=0.0, momentum=0.9, recipe=config)
    generator = torch.Generator().manual_seed(2)
    distances = []
    for step in range(STEPS + 1):
        off = (left.T @ (weight.detach() - target).double() @ right).diagonal()
        distances.append(float(off[STRONG:].norm()) / (ROWS - STRONG) ** 0.5)
        noise = torch.randn(ROWS, generator=generator, dtype=torch.float64)
        noise[STRONG:] = 0.0
        weight.grad = ((left * (curvature * (off + noise))) @ right.T).float()
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / STEPS)
        optimizer.step()
    return np.array(distances)


def _schatten4(matrix: Tensor) -> float:
    (spectrum,) = part_spectra(matrix[None])
    return float(np.sum(spectrum**4) ** 0.25)


def _orthonormal(side: int, seed: int) -> Tensor:
    """(side, 64) float64 with orthonormal columns."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(side, ROWS, generator=generator, dtype=torch.float64))[0]
