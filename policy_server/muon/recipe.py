"""From spectra to a recipe: for each layer the cheapest polar configuration that still orthonormalises what matters.

Source: the recipe of "Spectral Scaling Laws of Muon" (arXiv 2606.04058): choose the cheapest Newton-Schulz configuration whose failure
threshold lies under the quantile that matters. Added here: the algebraic form, rational and exact methods, and the condition
that the error over the whole spectrum is not larger than that of the fixed five steps.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from policy_server.muon.coefficients import PolynomialFamily
from policy_server.muon.configuration import Form, PolarConfig, Precision
from policy_server.muon.cost import CostModel, cost, flops
from policy_server.muon.recipe_file import Recipe
from policy_server.muon.response import orthogonalisation_error, response, squared_errors
from policy_server.muon.spectrum import quantile, schatten4
from policy_server.runtime.errors import ConfigurationError

# What everybody runs: Jordan's quintic, five steps, on the matrix itself.
FIXED_FIVE = PolarConfig(method="jordan", steps=5, form="direct")

# Of M / ‖M‖_F: below lies what rounding made of a rank-deficient matrix, which nobody wants orthonormalised.
ROUNDING = float(np.finfo(np.float32).eps)

Spectrum = NDArray[np.float64]


@dataclass(frozen=True)
class LayerSpectrum:
    """One parameter's matrices (rows x columns each) and the singular values of M / ‖M‖_F of each, descending."""

    rows: int
    columns: int
    parts: tuple[Spectrum, ...]

    @property
    def directions(self) -> list[Spectrum]:
        """The singular values of each part that are more than rounding; parts without any are left out."""
        above = [sigma[sigma > ROUNDING] for sigma in self.parts]
        return [sigma for sigma in above if len(sigma)]


@dataclass(frozen=True)
class RecipeConfig:
    """What a configuration must do to be chosen. Directions are those above rounding.

    The failure threshold at ``level`` must lie under ``margin`` times the ``quantile`` of the spectrum (0.5: the upper half of the
    directions). The error over those directions must not exceed ``largest_error`` (about what the fixed five steps make where
    they work), and over the whole spectrum not that of the fixed five steps. Where nothing does all this, the configuration with
    the smallest error over the whole spectrum is taken. ``precisions``: which may be used; bfloat16 is where it costs less by the
    cost model, and what it rounds counts as error.

    Raises:
        ConfigurationError: a value out of range.
    """

    quantile: float = 0.5
    level: float = 0.1
    margin: float = 0.5
    largest_error: float = 0.2
    precisions: tuple[Precision, ...] = ("float32",)

    def __post_init__(self) -> None:
        if not 0 < self.quantile <= 1:
            raise ConfigurationError(
                f"quantile: {self.quantile:g}: must be above 0 and at most 1 (0.5: the upper half of the directions)"
            )
        if not self.margin > 0:
            raise ConfigurationError(f"margin: {self.margin:g}: must be above 0 (0.5: half of the quantile)")
        if not self.precisions:
            raise ConfigurationError(f"precisions: none: give at least one of {', '.join(get_args(Precision))}")


def choose_recipe(
    spectra: Mapping[str, LayerSpectrum], config: RecipeConfig | None = None, model: CostModel | None = None
) -> Recipe:
    """A configuration for each layer in ``spectra``, and what they save together."""
    config, model = config or RecipeConfig(), model or CostModel()
    layers = {name: choose_layer(spectrum, config, model) for name, spectrum in spectra.items()}
    return Recipe(layers=layers, prediction=predict_saving(layers, spectra, model))


def choose_layer(spectrum: LayerSpectrum, config: RecipeConfig, model: CostModel) -> PolarConfig:
    """The cheapest configuration for one layer."""

    def price(candidate: PolarConfig) -> float:
        return cost(candidate, spectrum.rows, spectrum.columns, model)

    parts = spectrum.directions
    ranked = candidates(spectrum.rows, spectrum.columns, config.precisions, model)
    if not parts:  # an idle layer: nothing to orthonormalise, any will do
        return ranked[0]
    allowed = [orthogonalisation_error(FIXED_FIVE, sigma) for sigma in parts]
    serving: list[PolarConfig] = []
    for candidate in ranked:
        if serving and price(candidate) > price(serving[0]):
            break
        if all(_serves(candidate, sigma, error, config) for sigma, error in zip(parts, allowed, strict=True)):
            serving.append(candidate)
    # Of those that cost the same, or of all when none serves, the most accurate.
    return min(serving or ranked, key=lambda candidate: _worst_error(candidate, parts))


def candidates(rows: int, columns: int, precisions: Sequence[Precision], model: CostModel) -> list[PolarConfig]:
    """All configurations that are considered, the cheapest for this shape first."""
    families: tuple[PolynomialFamily, ...] = ("polar_express", "jordan")
    forms: tuple[Form, ...] = ("direct", "gram")
    polynomials = [PolarConfig(*each) for each in itertools.product(families, range(2, 9), forms)]
    rationals = [
        PolarConfig("halley", steps, "gram", lower=lower)
        for steps, lower in itertools.product((1, 2, 3), (3e-2, 1e-2, 3e-3, 1e-3, 3e-4))
    ]
    # For what lies below the floor of a float32 Gram matrix.
    rationals += [PolarConfig("halley", 2, "gram", lower=lower, restart_every=1) for lower in (3e-4, 1e-4, 3e-5)]
    exact = [PolarConfig("eigh", 1, "gram")]
    every = [
        replace(each, precision=precision, scale="schatten4")
        for each, precision in itertools.product((*polynomials, *rationals, *exact), precisions)
    ]
    return sorted(every, key=lambda each: cost(each, rows, columns, model))


def predict_saving(
    layers: Mapping[str, PolarConfig], spectra: Mapping[str, LayerSpectrum], model: CostModel
) -> dict[str, float]:
    """FLOPs, modelled time and error of the recipe beside those of the fixed five steps, over all layers of ``spectra``."""
    totals = dict.fromkeys(
        ("flops", "flops_of_fixed_five", "cost", "cost_of_fixed_five", "error", "error_of_fixed_five"), 0.0
    )
    directions = 0
    for name, spectrum in spectra.items():
        for suffix, config in (("", layers[name]), ("_of_fixed_five", FIXED_FIVE)):
            shape, parts = (spectrum.rows, spectrum.columns), len(spectrum.parts)
            totals[f"flops{suffix}"] += parts * flops(config, *shape)
            totals[f"cost{suffix}"] += parts * cost(config, *shape, model)
            totals[f"error{suffix}"] += sum(
                orthogonalisation_error(config, sigma, schatten4=schatten4(sigma)) ** 2 * len(sigma)
                for sigma in spectrum.directions
            )
        directions += sum(len(sigma) for sigma in spectrum.directions)
    return {
        "flops_over_fixed_five": round(totals["flops"] / totals["flops_of_fixed_five"], 4),
        "cost_over_fixed_five": round(totals["cost"] / totals["cost_of_fixed_five"], 4),
        "error": round(math.sqrt(totals["error"] / max(1, directions)), 4),
        "error_of_fixed_five": round(math.sqrt(totals["error_of_fixed_five"] / max(1, directions)), 4),
    }


def _serves(candidate: PolarConfig, sigma: Spectrum, allowed_error: float, config: RecipeConfig) -> bool:
    norm, rank = schatten4(sigma), len(sigma)
    weakest = np.array(config.margin * quantile(sigma, config.quantile))
    if response(candidate, weakest, schatten4=norm, rank=rank) < config.level:
        return False
    squares = squared_errors(candidate, sigma, schatten4=norm)
    matters = sigma >= quantile(sigma, config.quantile)
    return math.sqrt(squares[matters].mean()) <= config.largest_error and math.sqrt(squares.mean()) <= allowed_error


def _worst_error(candidate: PolarConfig, parts: Sequence[Spectrum]) -> float:
    return max(orthogonalisation_error(candidate, sigma, schatten4=schatten4(sigma)) for sigma in parts)
