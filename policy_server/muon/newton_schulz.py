"""Newton-Schulz: odd quintics x -> a x + b x^3 + c x^5 applied to all singular values of a matrix at once.

Two algebraic forms of the same function. The direct form multiplies the matrix itself in every step, which costs
4 m²n + 2 m³ for m x n. The Gram form iterates on R = M Mᵀ, m x m, gathers the steps' factors in Q, and multiplies M once.
"""

import torch
from torch import Tensor

from policy_server.muon.coefficients import Coefficients


def iterate_direct(matrices: Tensor, gram: Tensor, steps: tuple[Coefficients, ...]) -> Tensor:
    """The steps on matrices (B, n, m), m <= n; ``gram`` (B, m, m) is their Mᵀ M.

    Tall ones: on a CPU the Gram matrix of small wide ones takes twice as long.
    """
    for index, (a, b, c) in enumerate(steps):
        if index:
            gram = matrices.mT @ matrices
        # b R + c R², then a M + M (b R + c R²); a cubic has no R².
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) if c else gram
        matrices = torch.baddbmm(matrices, matrices, polynomial, beta=a, alpha=1.0 if c else b)
    return matrices


def newton_schulz_factor(gram: Tensor, steps: tuple[Coefficients, ...]) -> Tensor:
    """Q (B, m, m) such that Q M is what the steps make of M; ``gram`` (B, m, m) is M Mᵀ, without negative eigenvalues."""
    factor: Tensor | None = None
    for index, (a, b, c) in enumerate(steps):
        step = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) if c else b * gram
        step.diagonal(dim1=-2, dim2=-1).add_(a)
        factor = step if factor is None else step @ factor
        if index + 1 < len(steps):
            gram = step @ gram @ step
    assert factor is not None
    return factor
