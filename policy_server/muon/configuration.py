"""How one layer's momentum is orthonormalised: the method, its steps, its algebraic form and its precision."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from policy_server.muon.coefficients import Coefficients, PolynomialFamily, polynomial_coefficients
from policy_server.muon.halley import halley_weights
from policy_server.runtime.errors import ConfigurationError

Method = Literal["jordan", "polar_express", "cubic", "custom", "halley", "eigh"]
Form = Literal["direct", "gram", "cheapest"]
Precision = Literal["bfloat16", "float32", "float64"]
Scale = Literal["frobenius", "schatten4"]

# Rounding moves the eigenvalues of a float32 Gram matrix by about a quarter of a unit in the last place of its norm. So many
# units are added to its diagonal, that none is negative: the iterations would drive a negative one off to infinity.
GRAM_SHIFT_ULPS = 2.0


@dataclass(frozen=True)
class PolarConfig:
    """How the polar factor of a momentum matrix is computed.

    ``method``: a Newton-Schulz family with ``steps`` steps; ``halley``, the rational iteration with ``steps`` steps, made for
    singular values from ``lower`` to 1; or ``eigh``, exact by eigendecomposition of the Gram matrix.
    ``form``: ``direct`` iterates on the matrix; ``gram`` on the small Gram matrix; ``cheapest`` takes what costs less for the
    shape. Halley and eigh know only the Gram form.
    ``precision``: of the products. ``bfloat16`` in the Gram form is for the last product alone (on a GPU for the Gram matrix that
    it belongs to as well, which accumulates in float32); the Gram matrix is iterated in float32.
    ``scale``: the matrix is divided by its Frobenius norm as in the original, or by its Schatten-4 norm (the root of its Gram
    matrix's Frobenius norm), which is still an upper bound of the largest singular value and known on the way, but smaller:
    small singular values start higher.
    ``restart_every``: in the Gram form, form the matrix and its Gram matrix anew after so many steps (0: never), which lets
    directions be reached that the first Gram matrix loses to rounding.
    ``coefficients``: (a, b, c) per step of the method ``custom``.

    Raises:
        ConfigurationError: values that do not fit together.
    """

    method: Method = "jordan"
    steps: int = 5
    form: Form = "cheapest"
    precision: Precision = "float32"
    scale: Scale = "frobenius"
    lower: float = 1e-3
    restart_every: int = 0
    coefficients: tuple[Coefficients, ...] = ()

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigurationError(f"steps: {self.steps} for the method '{self.method}': must be at least 1")
        if self.is_polynomial:
            polynomial_coefficients(self.polynomial, self.steps, self.coefficients)
        elif self.form == "direct":
            raise ConfigurationError(f"form: the method '{self.method}' works on the Gram matrix: choose 'gram'")
        if self.coefficients and self.method != "custom":
            raise ConfigurationError(f"coefficients: given for the method '{self.method}': choose the method 'custom'")
        if not 0 < self.lower < 1:
            raise ConfigurationError(f"lower: {self.lower}: must lie between 0 and 1")
        if self.restart_every < 0 or (self.restart_every and self.method == "eigh"):
            raise ConfigurationError(f"restart_every: {self.restart_every} for the method '{self.method}': must be 0")

    @property
    def is_polynomial(self) -> bool:
        return self.method in get_args(PolynomialFamily)

    @property
    def polynomial(self) -> PolynomialFamily:
        """The family of a polynomial method."""
        assert self.method != "halley" and self.method != "eigh"
        return self.method

    @property
    def gram_dtype(self) -> torch.dtype:
        """Of the Gram matrix and of everything that is computed from it."""
        return torch.float64 if self.precision == "float64" else torch.float32

    @property
    def gram_shift(self) -> float:
        """What is added to the diagonal of the Gram matrix, relative to the Gram matrix's Frobenius norm."""
        return GRAM_SHIFT_ULPS * torch.finfo(self.gram_dtype).eps

    def triples(self) -> tuple[Coefficients, ...]:
        """(a, b, c) of each step: of a x + b x^3 + c x^5, or of x (a + b x^2) / (1 + c x^2) for Halley; none for eigh."""
        if self.method == "eigh":
            return ()
        if self.method == "halley":
            return halley_weights(self.lower, self.steps)
        return polynomial_coefficients(self.polynomial, self.steps, self.coefficients)

    def segments(self) -> tuple[tuple[Coefficients, ...], ...]:
        """The steps between two restarts of the Gram form."""
        triples = self.triples()
        size = self.restart_every or max(1, len(triples))
        return tuple(triples[start : start + size] for start in range(0, max(1, len(triples)), size))


def describe_config(config: PolarConfig) -> str:
    """A few words: ``halley x2 from 0.001, gram, float32``."""
    steps = "" if config.method == "eigh" else f" x{config.steps}"
    lower = f" from {config.lower:g}" if config.method == "halley" else ""
    restart = f", restart every {config.restart_every}" if config.restart_every else ""
    scale = "" if config.scale == "frobenius" else f", {config.scale}"
    return f"{config.method}{steps}{lower}, {config.form}{restart}, {config.precision}{scale}"
