"""Spectra of matrices of pure noise: what the statistic does with the size when nothing is learned.

For M / ‖M‖_F the squares of the singular values add up to one, so they shrink with the rank whatever the matrix is. A law says
something about training only where it differs from this.
"""

import math
from functools import lru_cache

import numpy as np

_POINTS = 20_001


@lru_cache(maxsize=4096)
def random_quantile(rows: int, columns: int, q: float) -> float:
    """The singular value of G / ‖G‖_F, G with independent normal entries, at or above which the share ``q`` of them lies.

    Source: Marchenko & Pastur 1967, "Distribution of eigenvalues for some sets of random matrices", for large matrices; rank m of
    m x n, in the convention of ``policy_server.muon.spectrum.quantile``.
    """
    small, large = sorted((rows, columns))
    ratio = small / large
    # Eigenvalues of G Gᵀ / n have mean one and lie in [low, high]; with this substitution the density has no infinite edge.
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
    angle = np.linspace(0.0, np.pi, _POINTS)
    value = (low + high) / 2 + (high - low) / 2 * np.cos(angle)
    weight = np.where(value > 0, np.sin(angle) ** 2 / np.maximum(value, 1e-300), 0.0)
    if ratio == 1.0:
        weight[-1] = weight[-2]  # the limit at zero is finite
    share = np.concatenate([[0.0], np.cumsum((weight[1:] + weight[:-1]) / 2)])
    # The middle of the step that the sorted values make at this rank.
    rank = max(0, math.ceil(q * small) - 1)
    return math.sqrt(float(np.interp((rank + 0.5) / small, share / share[-1], value)) / small)
