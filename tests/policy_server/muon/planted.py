"""Matrices with a planted spectrum, for tests."""

import torch
from torch import Tensor


def planted(rows: int, columns: int, sigma: Tensor, seed: int = 0) -> Tensor:
    """Float64 (rows, columns) with singular values ``sigma`` and random singular vectors."""
    generator = torch.Generator().manual_seed(seed)
    rank = len(sigma)

    def directions(side: int) -> Tensor:
        return torch.linalg.qr(torch.randn(side, rank, generator=generator, dtype=torch.float64))[0]

    return (directions(rows) * sigma) @ directions(columns).T
