"""What a polar configuration makes of one singular value, from the very coefficients in use, and where it fails."""

import math

import numpy as np
from numpy.typing import NDArray

from policy_server.muon.coefficients import Coefficients
from policy_server.muon.configuration import PolarConfig

# Root mean square of what rounding to bfloat16 changes, over that of the entries: 2^-8 / √3 of the power of two below an entry.
_BFLOAT16_RMS = 0.72 * 2.0**-8 / math.sqrt(3)

_SMALLEST, _PER_DECADE, _BISECTIONS = 1e-16, 64, 60


def response(
    config: PolarConfig, sigma: NDArray[np.float64], *, schatten4: float = 1.0, rank: int = 1024
) -> NDArray[np.float64]:
    """Output singular values for input ones, in exact arithmetic apart from the Gram form's shift.

    Args:
        sigma: singular values of M / ‖M‖_F, any shape, in [0, 1].
        schatten4: (Σ σ⁴)^¼ of the matrix's own spectrum. One, the largest possible, never promises too much.
        rank: of the matrix; says how large the Gram matrix is after a restart.
    """
    scaled = _scaled(config, np.asarray(sigma, np.float64), schatten4)
    if config.form == "direct":
        return _iterate(config, scaled, config.triples())
    return _by_gram(config, scaled, config.segments(), schatten4, rank)


def failure_threshold(config: PolarConfig, level: float = 0.1, *, schatten4: float = 1.0, rank: int = 1024) -> float:
    """The smallest singular value of M / ‖M‖_F that comes out at ``level`` or more; infinity when none does.

    Source: the criterion of "Spectral Scaling Laws of Muon" (arXiv 2606.04058): a direction is lost that stays under about 0.1.
    ``schatten4`` and ``rank`` as in ``response``.
    """

    def reaches(sigma: NDArray[np.float64]) -> NDArray[np.bool_]:
        return response(config, sigma, schatten4=schatten4, rank=rank) >= level

    grid = np.logspace(math.log10(_SMALLEST), 0, round(-math.log10(_SMALLEST)) * _PER_DECADE + 1)
    above = np.flatnonzero(reaches(grid))
    if len(above) == 0:
        return math.inf
    if above[0] == 0:
        return float(grid[0])
    low, high = grid[above[0] - 1], grid[above[0]]
    for _ in range(_BISECTIONS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if reaches(np.array(middle)) else (middle, high)
    return float(high)


def squared_errors(config: PolarConfig, sigma: NDArray[np.float64], *, schatten4: float = 1.0) -> NDArray[np.float64]:
    """‖uᵀ(O - U Vᵀ)‖² expected for each left singular vector u, O the configuration's result.

    (output - 1)², and what rounding to bfloat16 adds, if it does.

    Args:
        sigma: (rank,) all singular values of M / ‖M‖_F that are more than rounding.
        schatten4: as in ``response``.
    """
    out = response(config, sigma, schatten4=schatten4, rank=len(sigma))
    off: NDArray[np.float64] = (out - 1) ** 2
    if config.precision != "bfloat16":
        return off
    rounded = sigma
    if config.form == "gram" and config.restart_every:  # only the product after the last restart is rounded
        scaled = _scaled(config, sigma, schatten4)
        rounded = _by_gram(config, scaled, config.segments()[:-1], schatten4, len(sigma))
    return off + _rounding(rounded, out / rounded)


def orthogonalisation_error(config: PolarConfig, sigma: NDArray[np.float64], *, schatten4: float = 1.0) -> float:
    """‖O - U Vᵀ‖_F / √rank, the root mean square of ``squared_errors``."""
    return math.sqrt(float(np.mean(squared_errors(config, sigma, schatten4=schatten4))))


def _rounding(sigma: NDArray[np.float64], factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared error per direction of Q M when M, of singular values ``sigma``, and Q, of ``factor``, are rounded to bfloat16.

    Rounding adds matrices of independent entries, each a share of its own entry. That of M comes out as long as Q makes it in this
    direction, that of Q meets all of M in every direction.
    """
    mean_square = float(np.mean(sigma**2))
    return _BFLOAT16_RMS**2 * mean_square * (factor**2 + float(np.mean(factor**2)))


def _scaled(config: PolarConfig, sigma: NDArray[np.float64], schatten4: float) -> NDArray[np.float64]:
    """As the steps meet them. No singular value exceeds either norm."""
    scaled: NDArray[np.float64] = np.minimum(sigma / (schatten4 if config.scale == "schatten4" else 1.0), 1.0)
    return scaled


def _by_gram(
    config: PolarConfig,
    values: NDArray[np.float64],
    segments: tuple[tuple[Coefficients, ...], ...],
    schatten4: float,
    rank: int,
) -> NDArray[np.float64]:
    for index, steps in enumerate(segments):
        gram_norm = math.sqrt(rank) if index else (1.0 if config.scale == "schatten4" else schatten4**2)
        shifted = np.sqrt(values**2 + config.gram_shift * gram_norm)
        values = values * (_iterate(config, shifted, steps) / shifted)
    return values


def _iterate(config: PolarConfig, sigma: NDArray[np.float64], steps: tuple[Coefficients, ...]) -> NDArray[np.float64]:
    if config.method == "eigh":
        return np.ones_like(sigma)
    for a, b, c in steps:
        square = sigma**2
        rational = config.method == "halley"
        sigma = sigma * ((a + b * square) / (1 + c * square) if rational else a + b * square + c * square**2)
    return sigma
