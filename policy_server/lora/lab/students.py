"""What the student answers to a sample, and how steeply: the network with its perturbation, and its first-order expansion."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from policy_server.lora.lab.activations import Activation, Array
from policy_server.lora.lab.teachers import row_lengths

Doubles = NDArray[np.float64]


class Student(Protocol):
    """R runs of I instances with k neurons."""

    guess: Array

    def respond(self, projected: Array, seen: Doubles) -> tuple[Doubles, Doubles]:
        """f̂(x) and ∂f̂/∂⟨û, x⟩, both (R, I), for Wx (I, k) and ⟨û, x⟩ (R, I)."""
        ...

    def learn(self, weight: Doubles) -> None:
        """A gradient step of ĉ on the sample of the last ``respond``; ``weight`` (R, I) is 2 η_c (f̂ - f*)."""
        ...


class NetworkStudent:
    """λᵀsigma((W + ξ ĉ ûᵀ)x), rows scaled to length 1 if ``normalise``. ``guess`` (R, I, k) is ĉ, ``strength`` (R, 1, 1) is ξ."""

    def __init__(
        self, activation: Activation, second_layer: Array, guess: Array, strength: Array, normalise: bool
    ) -> None:
        self._activation, self._normalise = activation, normalise
        self._second_layer, self._strength = second_layer, strength
        self._set(guess)

    def _set(self, guess: Array) -> None:
        self.guess = guess
        self._inverse = 1 / row_lengths(guess, self._strength, self._normalise)
        self._tilt = self._strength * guess * self._inverse
        self._slopes = self._second_layer * self._tilt

    def respond(self, projected: Array, seen: Doubles) -> tuple[Doubles, Doubles]:
        self._seen = seen[..., None].astype(projected.dtype)
        self._z = projected * self._inverse
        self._z += self._tilt * self._seen
        value, self._slope = self._activation.with_slope(self._z)
        output = np.vecdot(value, self._second_layer).astype(np.float64)
        return output, np.vecdot(self._slope, self._slopes).astype(np.float64)

    def learn(self, weight: Doubles) -> None:
        # z = (Wx + ξ ĉ ŝ)/√(1 + ξ² ĉ²), so its slope in ĉ is (ξ/√…) (ŝ - z ξ ĉ/√…); the second term is the scaling's.
        scaling = self._z * self._tilt if self._normalise else 0
        slope = self._second_layer * self._slope * (self._strength * self._inverse) * (self._seen - scaling)
        self._set(self.guess - weight[..., None].astype(slope.dtype) * slope)


class LinearisedStudent:
    """λᵀ[sigma(Wx) + sigma'(Wx) ∘ ξ ĉ ⟨û, x⟩]: the same student to first order in the perturbation (the scaling to length 1 is of second
    order)."""

    def __init__(self, activation: Activation, second_layer: Array, guess: Array, strength: Array) -> None:
        self._activation, self._second_layer, self._strength = activation, second_layer, strength
        self.guess = guess

    def respond(self, projected: Array, seen: Doubles) -> tuple[Doubles, Doubles]:
        value, slope = self._activation.with_slope(projected)
        self._seen = seen[..., None].astype(projected.dtype)
        self._features = self._strength * (self._second_layer * slope)
        steepness = np.vecdot(self._features, self.guess).astype(np.float64)
        return np.vecdot(value, self._second_layer).astype(np.float64) + steepness * seen, steepness

    def learn(self, weight: Doubles) -> None:
        self.guess = self.guess - weight[..., None].astype(self._seen.dtype) * self._features * self._seen
