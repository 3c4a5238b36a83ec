"""Dynamically weighted Halley steps for the polar factor, on the Gram matrix (Nakatsukasa, Bai & Gygi 2010, "Optimizing
Halley's iteration for computing the matrix polar decomposition").

A step maps a singular value x to x (a + b x^2) / (1 + c x^2), the best rational function of that degree for [l, 1]. It needs one
inverse by Cholesky where a quintic step needs a product, and lifts small singular values about twenty times higher.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from policy_server.muon.coefficients import Coefficients


@lru_cache(maxsize=256)
def halley_weights(lower: float, steps: int) -> tuple[Coefficients, ...]:
    """(a, b, c) of each step, optimal for singular values in [lower, 1] (eq. 3.11 and 3.12 there).

    The last step's are scaled so that what they make of [lower, 1] lies around one, not below it.
    """
    weights = []
    bound = lower
    for _ in range(steps):
        d = (4 * (1 - bound**2) / bound**4) ** (1 / 3)
        root = math.sqrt(1 + d)
        a = root + 0.5 * math.sqrt(8 - 4 * d + 8 * (2 - bound**2) / (bound**2 * root))
        b = (a - 1) ** 2 / 4
        c = a + b - 1
        weights.append((a, b, c))
        # Rounding must not carry the bound beyond one.
        bound = min(1.0, bound * (a + b * bound**2) / (1 + c * bound**2))
    a, b, c = weights[-1]
    middle = (1 + bound) / 2
    return (*weights[:-1], (a / middle, b / middle, c))


def halley_factor(gram: Tensor, weights: tuple[Coefficients, ...]) -> Tensor:
    """Q (B, m, m) such that Q M is what the steps make of M; ``gram`` (B, m, m) is M Mᵀ, without negative eigenvalues.

    With W = (I + c R)^-1 a step is P = b/c I + (a - b/c) W, and P R = b/c R + (a - b/c) (I - W) / c needs no product.
    """
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    factor: Tensor | None = None
    for index, (a, b, c) in enumerate(weights):
        rest = a - b / c
        # Not by blocks with Schur complements, which is faster but loses definiteness when c is large.
        inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(identity + c * gram).L)
        step = rest * inverse
        step.diagonal(dim1=-2, dim2=-1).add_(b / c)
        factor = step if factor is None else step @ factor
        if index + 1 < len(weights):
            gram = (gram * (b / c) + (identity - inverse) * (rest / c)) @ step
    assert factor is not None
    return factor
