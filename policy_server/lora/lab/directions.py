"""The direction û that the student learns: what it sees of a sample, and how a gradient step moves it on the sphere.

Both classes do the same step û ← normalise(û - w (I - ûûᵀ)Π⊥x), Π⊥ the projection off span(W), with w = η · 2 (f̂ - f*) ∂f̂/∂⟨û, x⟩.
``PlainDirection`` keeps all d coordinates and is the reference. ``ReducedDirection`` keeps the overlap m = ⟨u, û⟩ alone, and is exact:
the step depends on x through Wx, s = ⟨u, x⟩, ŝ = ⟨û, x⟩ and ‖Π⊥x‖. Let e be the unit vector along û - m u. Given the past, s,
t = ⟨e, x⟩ and the squared length q of the rest of Π⊥x are independent, N(0, 1), N(0, 1) and χ² with d - k - 2 degrees of freedom, and

    ŝ = m s + √(1 - m²) t,      m ← (m - w (s - ŝ m)) / √(1 + w² (s² + t² + q - ŝ²)).
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


class Direction(Protocol):
    """R runs of I instances; steps are counted within the samples that were given last."""

    def seen(self, step: int) -> Doubles:
        """⟨û, x⟩ (R, I)."""
        ...

    def move(self, step: int, seen: Doubles, weight: Doubles) -> None:
        """One step of length ``weight`` (R, I) times the projected sample, and back onto the sphere."""
        ...

    @property
    def overlap(self) -> Doubles:
        """m = ⟨u, û⟩ (R, I)."""
        ...


class ReducedDirection:
    """``overlap`` (R, I) is all of its state."""

    def __init__(self, overlap: Doubles) -> None:
        self.overlap = overlap

    def give(self, along: Doubles, aside: Doubles, squared_rest: Doubles) -> None:
        """Samples of a block: s and t (N, I), q (N, R, I)."""
        self._along, self._aside = along, aside
        self._squared_length = squared_rest + (along * along + aside * aside)[:, None]

    def seen(self, step: int) -> Doubles:
        m = self.overlap
        return m * self._along[step] + np.sqrt(np.maximum(1 - m * m, 0)) * self._aside[step]

    def move(self, step: int, seen: Doubles, weight: Doubles) -> None:
        m = self.overlap
        moved = m - weight * (self._along[step] - seen * m)
        moved /= np.sqrt(1 + weight * weight * (self._squared_length[step] - seen * seen))
        # Rounding alone can leave the interval; np.clip takes longer than all the rest.
        self.overlap = np.minimum(np.maximum(moved, -1), 1)


class PlainDirection:
    """``vector`` (R, I, d) is û, ``target`` (I, d) is u, both of length 1 and orthogonal to span(W)."""

    def __init__(self, vector: Doubles, target: Doubles) -> None:
        self.vector, self._target = vector, target

    def give(self, projected: Doubles) -> None:
        """Samples of a block: Π⊥x (N, I, d)."""
        self._projected = projected

    def seen(self, step: int) -> Doubles:
        return np.vecdot(self.vector, self._projected[step])

    def move(self, step: int, seen: Doubles, weight: Doubles) -> None:
        moved = self.vector - weight[..., None] * (self._projected[step] - seen[..., None] * self.vector)
        self.vector = moved / np.sqrt(np.vecdot(moved, moved))[..., None]

    @property
    def overlap(self) -> Doubles:
        return np.vecdot(self.vector, self._target)
