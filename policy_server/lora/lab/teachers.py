"""Base networks f(x) = λᵀsigma(Wx) and teachers λᵀsigma((W + ξ c uᵀ)x), one pair per instance."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from policy_server.lora.lab.activations import Activation, Array
from policy_server.lora.lab.draws import Purpose, generator

Coefficients = Literal["quantised", "spherical"]


@dataclass(frozen=True)
class Teachers:
    """I instances with k neurons, in coordinates of an orthonormal basis of span(W) and of u, which is orthogonal to it.

    ``second_layer`` (I, k): λ, signs over √k. ``rows`` (I, k, k): W, or None for orthonormal rows. ``coefficients`` (I, k): c.
    ``guess`` (I, k): the ĉ that a student begins with. All float64.
    """

    second_layer: NDArray[np.float64]
    rows: NDArray[np.float64] | None
    coefficients: NDArray[np.float64]
    guess: NDArray[np.float64]

    @property
    def instances(self) -> int:
        return self.second_layer.shape[0]

    @property
    def neurons(self) -> int:
        return self.second_layer.shape[1]


def draw_teachers(
    seed: int, instances: int, neurons: int, rows: Literal["orthonormal", "separated"], coefficients: Coefficients
) -> Teachers:
    """Each instance from a stream of its own; separated rows are independent and uniform on the unit sphere of their span."""
    drawn = [
        _draw_one(generator(seed, Purpose.TEACHER, index, neurons), neurons, coefficients) for index in range(instances)
    ]
    second, c, guess, own_rows = (np.stack(part) for part in zip(*drawn, strict=True))
    return Teachers(second, own_rows if rows == "separated" else None, c, guess)


def _draw_one(source: np.random.Generator, k: int, kind: Coefficients) -> tuple[NDArray[np.float64], ...]:
    second = _signs(source, k)
    c, guess = (_signs(source, k) if kind == "quantised" else _unit(source.standard_normal(k)) for _ in range(2))
    return second, c, guess, _unit(source.standard_normal((k, k)))


def _signs(source: np.random.Generator, k: int) -> NDArray[np.float64]:
    return (2.0 * source.integers(0, 2, k) - 1) / np.sqrt(k)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


def row_lengths(coefficients: Array, strength: Array | float, normalise: bool) -> Array:
    """Lengths √(1 + ξ²c²) of perturbed rows, by which they are divided; ones when they are not normalised."""
    lengths: Array = np.sqrt(1 + (strength * coefficients) ** 2) if normalise else np.ones_like(strength * coefficients)
    return lengths


def through_rows(teachers: Teachers, hidden: Array) -> Array:
    """Wx (N, I, k) from the coordinates (N, I, k) of x in span(W)."""
    if teachers.rows is None:
        return hidden
    product: Array = np.matvec(teachers.rows.astype(hidden.dtype), hidden)
    return product


def answers(
    teachers: Teachers, activation: Activation, strength: float, normalise: bool, projected: Array, along: Array
) -> NDArray[np.float64]:
    """The teachers' outputs (N, I) on Wx (N, I, k) and ⟨u, x⟩ (N, I)."""
    lengths = row_lengths(teachers.coefficients, strength, normalise)
    tilt = (strength * teachers.coefficients / lengths).astype(projected.dtype)
    inverse = (1 / lengths).astype(projected.dtype)
    z = projected * inverse + tilt * along[..., None].astype(projected.dtype)
    value = activation.value(z)
    return np.vecdot(value, teachers.second_layer.astype(projected.dtype)).astype(np.float64)
