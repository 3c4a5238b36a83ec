"""How much later one signal shows what another one did: the arm's latency, a camera's latency. Plain Python.

Both signals are sampled at their own times. For every candidate delay the reference is read so much earlier, and a straight
line from the signal's columns to it is fitted; the delay at which the fit is best is the answer. For one column that is the
peak of the normalised cross-correlation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.clock import NS_PER_S
from policy_server.runtime.errors import PolicyError
from ros_nodes.franka.limits import FloatArray

SEARCH_S = (-0.05, 0.6)
_STEP_S = 0.001
_LEAST_AGREEMENT = 0.8
_THUMBNAIL = 24
_COMPONENTS = 4


class DelayError(PolicyError):
    """Two signals do not say by how much one is later."""


@dataclass(frozen=True)
class Delay:
    """``delay_s``: how much later. ``agreement``: share of the reference's variance that the signal explains then, 0 to 1."""

    delay_s: float
    agreement: float


def delay_of(
    what: str,
    times_ns: NDArray[np.int64],
    values: FloatArray,
    reference_times_ns: NDArray[np.int64],
    reference: FloatArray,
) -> Delay:
    """The delay of ``values``, float64 (n, k) at rising ``times_ns``, behind ``reference``, float64 (m,).

    Raises:
        DelayError: too few samples, no motion, no agreement, or a best delay at an end of ``SEARCH_S``; names ``what``.
    """
    delays_s = np.arange(SEARCH_S[0], SEARCH_S[1] + _STEP_S / 2, _STEP_S)
    origin_ns = int(reference_times_ns[0]) if len(reference_times_ns) else 0
    times_s, reference_s = (times_ns - origin_ns) / NS_PER_S, (reference_times_ns - origin_ns) / NS_PER_S
    inside = _within(times_s, reference_s)
    if inside.sum() < 20:
        raise DelayError(
            f"{what}: {int(inside.sum())} samples during the motion, at least 20 are needed: does it publish?"
        )
    earlier = times_s[inside][:, None] - delays_s
    shown = np.interp(earlier.ravel(), reference_s, reference).reshape(earlier.shape)
    agreements = _explained(values[inside], shown)
    best = int(np.argmax(agreements))
    if not agreements[best] >= _LEAST_AGREEMENT:
        raise DelayError(
            f"{what} does not follow the arm (agreement {agreements[best]:.2f}, at least {_LEAST_AGREEMENT}): "
            "is it free, and does the camera see it?"
        )
    if best in (0, len(delays_s) - 1):
        raise DelayError(f"{what}: the delay is not between {SEARCH_S[0]} and {SEARCH_S[1]} s: are the clocks alike?")
    return Delay(
        float(delays_s[best] + _STEP_S * _peak_offset(agreements[best - 1 : best + 2])), float(agreements[best])
    )


def appearance(frames: NDArray[np.uint8]) -> FloatArray:
    """What changes in a film of one moving arm, float64 (n, 4): the first principal components of small grey pictures.

    ``frames``: uint8 (n, height, width, 3).
    """
    rows = np.linspace(0, frames.shape[1], _THUMBNAIL + 1).astype(int)[:-1]
    columns = np.linspace(0, frames.shape[2], _THUMBNAIL + 1).astype(int)[:-1]
    grey = frames.astype(np.float64).mean(axis=3)
    small = np.add.reduceat(np.add.reduceat(grey, rows, axis=1), columns, axis=2).reshape(len(frames), -1)
    left, sizes, _ = np.linalg.svd(small - small.mean(axis=0), full_matrices=False)
    return left[:, :_COMPONENTS] * sizes[:_COMPONENTS]


def _within(times_s: FloatArray, reference_s: FloatArray) -> NDArray[np.bool_]:
    """Samples for which the reference is known at every candidate delay."""
    if not len(reference_s):
        return np.zeros(len(times_s), np.bool_)
    return (times_s - SEARCH_S[1] >= reference_s[0]) & (times_s - SEARCH_S[0] <= reference_s[-1])


def _explained(values: FloatArray, shown: FloatArray) -> FloatArray:
    """Share of each column of ``shown`` (n, delays) that ``values`` (n, k) explain, (delays,)."""
    basis, _ = np.linalg.qr(values - values.mean(axis=0))
    centred = shown - shown.mean(axis=0)
    total = (centred**2).sum(axis=0)
    return np.where(total > 1e-12, ((basis.T @ centred) ** 2).sum(axis=0) / np.maximum(total, 1e-12), 0.0)


def _peak_offset(three: FloatArray) -> float:
    """Where the parabola through three values peaks, in steps from the middle one."""
    left, middle, right = three
    bend = left - 2.0 * middle + right
    return float(0.5 * (left - right) / bend) if bend < 0.0 else 0.0
