"""The activations of the laboratory, each with its slope.

The Hermite polynomials are normalised under the standard normal: E[sigma(z)²] = 1 for He₂/√2 and He₃/√6.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ActivationName = Literal["relu", "sigmoid", "quadratic", "he3"]

_SQRT_2, _SQRT_6 = math.sqrt(2.0), math.sqrt(6.0)


@dataclass(frozen=True)
class Activation:
    """``value(z)`` is sigma(z); ``with_slope(z)`` is sigma(z) and sigma'(z), of the shape and type of z."""

    value: Callable[[Array], Array]
    with_slope: Callable[[Array], tuple[Array, Array]]


def _relu(z: Array) -> Array:
    return np.maximum(z, 0)


def _relu_with_slope(z: Array) -> tuple[Array, Array]:
    slope = (z > 0).astype(z.dtype)
    return z * slope, slope


def _sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def _sigmoid_with_slope(z: Array) -> tuple[Array, Array]:
    value = _sigmoid(z)
    return value, value * (1 - value)


def _quadratic(z: Array) -> Array:
    return (z * z - 1) / _SQRT_2


def _quadratic_with_slope(z: Array) -> tuple[Array, Array]:
    return _quadratic(z), z * _SQRT_2


def _he3(z: Array) -> Array:
    return (z * z - 3) * z / _SQRT_6


def _he3_with_slope(z: Array) -> tuple[Array, Array]:
    squared = z * z
    return (squared - 3) * z / _SQRT_6, (squared - 1) * (3 / _SQRT_6)


ACTIVATIONS: dict[ActivationName, Activation] = {
    "relu": Activation(_relu, _relu_with_slope),
    "sigmoid": Activation(_sigmoid, _sigmoid_with_slope),
    "quadratic": Activation(_quadratic, _quadratic_with_slope),
    "he3": Activation(_he3, _he3_with_slope),
}
