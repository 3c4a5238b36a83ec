"""The statistic of "Spectral Scaling Laws of Muon" (arXiv 2606.04058): singular values of M / ‖M‖_F, and their quantiles."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def singular_values(matrices: Tensor) -> Tensor:
    """Singular values of M / ‖M‖_F, descending, for matrices (B, rows, columns): float64 (B, min(rows, columns)).

    Root of the eigenvalues of the Gram matrix, in float64: true to about 1e-8, far below any failure threshold, for a fifth
    of the cost of an SVD. A zero matrix has zeros.
    """
    wide = matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mT
    wide = wide.double()
    norm = torch.linalg.vector_norm(wide, dim=(-2, -1), keepdim=True)
    # The squares of a float32 number fit into float64, so the norm is not zero unless the matrix is.
    gram = (wide @ wide.mT) / torch.where(norm > 0, norm, torch.ones_like(norm)) ** 2
    return torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().flip(-1)


def quantile(sigma: NDArray[np.float64], q: float) -> float:
    """``sigma[ceil(q r) - 1]`` of descending ``sigma`` (r,): the share q of the directions lies at or above it."""
    return float(sigma[max(0, math.ceil(q * len(sigma)) - 1)])


def schatten4(sigma: NDArray[np.float64]) -> float:
    """The Schatten-4 norm, (sum of fourth powers)^(1/4); one for a zero spectrum, the bound that holds for all."""
    norm = float(np.sum(sigma**4) ** 0.25)
    return norm if norm > 0 else 1.0


def spectrum_from_quantiles(quantiles: Mapping[float, float], rank: int) -> NDArray[np.float64]:
    """A spectrum (rank,), descending, with the given quantiles: log-linear in the rank between them and beyond the outer ones.

    For predicted quantiles, of which a scaling law gives a few. Σ σ² is at most one, as for any M / ‖M‖_F.
    """
    shares = np.array(sorted(quantiles))
    logs = np.log([quantiles[share] for share in shares])
    at = np.arange(1, rank + 1) / rank
    inside = np.interp(at, shares, logs)
    if len(shares) > 1:
        head, tail = np.diff(logs)[[0, -1]] / np.diff(shares)[[0, -1]]
        inside = np.where(at < shares[0], logs[0] + head * (at - shares[0]), inside)
        inside = np.where(at > shares[-1], logs[-1] + tail * (at - shares[-1]), inside)
    sigma = np.exp(inside)
    return sigma / max(1.0, math.sqrt(float(np.sum(sigma**2))))


def part_spectra(matrices: Tensor) -> Sequence[NDArray[np.float64]]:
    """``singular_values`` of each part of one layer, on the CPU."""
    return list(singular_values(matrices).cpu().numpy())
