"""Recipes: what is chosen serves the spectrum, costs less, and survives the case in which five fixed steps fail."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policy_server.muon.configuration import PolarConfig
from policy_server.muon.cost import CostModel, cost, flops
from policy_server.muon.polar import orthonormalise, polar_factor
from policy_server.muon.recipe import (
    FIXED_FIVE,
    LayerSpectrum,
    RecipeConfig,
    choose_layer,
    choose_recipe,
)
from policy_server.muon.response import failure_threshold, orthogonalisation_error
from policy_server.muon.spectrum import QUANTILES, quantile, schatten4, spectrum_from_quantiles
from policy_server.runtime.configuration import build
from policy_server.runtime.errors import ConfigurationError
from tests.policy_server.muon.planted import planted


def decaying(rank: int, decades: float) -> np.ndarray:
    sigma = np.logspace(0, -decades, rank)
    return sigma / np.linalg.norm(sigma)


@given(
    st.sampled_from([(64, 64), (64, 320), (256, 64), (256, 256)]),
    st.floats(0.0, 4.0),
    st.sampled_from([0.25, 0.5, 0.9]),
    st.sampled_from([CostModel(), CostModel((1,), (1.0,), (5.0,)), CostModel((1,), (100.0,), (100.0,))]),
)
def test_what_is_chosen_serves_at_least_cost(
    shape: tuple[int, int], decades: float, q: float, model: CostModel
) -> None:
    sigma = decaying(min(shape), decades)
    config = RecipeConfig(quantile=q)
    chosen = choose_layer(LayerSpectrum(*shape, (sigma,)), config, model)
    norm = schatten4(sigma)
    assert failure_threshold(chosen, 0.1, schatten4=norm, rank=len(sigma)) <= config.margin * quantile(sigma, q)
    assert orthogonalisation_error(chosen, sigma, schatten4=norm) <= orthogonalisation_error(FIXED_FIVE, sigma)
    assert cost(chosen, *shape, model) <= cost(FIXED_FIVE, *shape, model)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        *(({"quantile": value}, "quantile: ") for value in (50.0, 0.0, -1.0, float("nan"))),
        *(({"margin": value}, "margin: ") for value in (0.0, -0.5, float("nan"))),
        ({"precisions": []}, "precisions: none: give at least one of bfloat16, float32"),
    ],
)
def test_what_no_configuration_could_do_is_refused_by_name(changes: dict[str, object], names: str) -> None:
    with pytest.raises(ConfigurationError, match=names):
        build(RecipeConfig, changes, "recipe")


def test_a_recipe_must_serve_every_part() -> None:
    easy, hard = decaying(64, 0.5), decaying(64, 4.5)
    config, model = RecipeConfig(quantile=0.9), CostModel()

    def choice(*parts: np.ndarray) -> float:
        return cost(choose_layer(LayerSpectrum(64, 64, parts), config, model), 64, 64, model)

    assert choice(easy) < choice(hard)
    assert choice(easy, hard) >= choice(hard)


def test_bfloat16_is_taken_where_it_is_cheaper_and_its_rounding_is_small() -> None:
    def precision(decades: float, model: CostModel) -> str:
        spectrum = LayerSpectrum(128, 512, (decaying(128, decades),))
        return choose_layer(spectrum, RecipeConfig(precisions=("float32", "bfloat16")), model).precision

    assert precision(1.0, CostModel(bfloat16=0.4)) == "bfloat16"
    assert precision(1.0, CostModel()) == "float32"
    # Where the weak half matters too and lies below what is rounded.
    strict = RecipeConfig(quantile=0.99, largest_error=0.1, precisions=("float32", "bfloat16"))
    weak = LayerSpectrum(128, 512, (decaying(128, 3.0),))
    assert choose_layer(weak, strict, CostModel(bfloat16=0.4)).precision == "float32"


def test_rounding_in_a_rank_deficient_matrix_is_not_served() -> None:
    full = decaying(24, 1.0)
    deficient = np.concatenate([full, np.full(40, 2e-8)])
    model, config = CostModel(), RecipeConfig(quantile=0.9)
    chosen = [choose_layer(LayerSpectrum(64, 128, (sigma,)), config, model) for sigma in (full, deficient)]
    assert chosen[0] == chosen[1]


def test_a_layer_without_momentum_gets_the_cheapest() -> None:
    chosen = choose_layer(LayerSpectrum(32, 32, (np.zeros(32),)), RecipeConfig(), CostModel())
    assert flops(chosen, 32, 32) < flops(FIXED_FIVE, 32, 32)


def test_where_nothing_serves_the_most_accurate_is_taken() -> None:
    sigma = np.concatenate([[1.0], np.full(63, 2e-7)])
    chosen = choose_layer(LayerSpectrum(64, 64, (sigma,)), RecipeConfig(), CostModel())
    assert orthogonalisation_error(chosen, sigma) <= orthogonalisation_error(FIXED_FIVE, sigma) + 1e-12


def test_a_recipe_saves_two_fifths_of_the_flops_at_a_lower_error() -> None:
    spectra = {
        "attention.query.weight": LayerSpectrum(128, 128, (decaying(128, 2.0),)),
        "conv.weight": LayerSpectrum(128, 640, (decaying(128, 1.5),)),
        "up.weight": LayerSpectrum(512, 128, (decaying(128, 2.5),)),
    }
    prediction = choose_recipe(spectra).prediction
    assert prediction["flops_over_fixed_five"] < 0.6
    assert prediction["error"] < prediction["error_of_fixed_five"]


def test_the_predicted_error_is_the_one_that_is_measured() -> None:
    sigma = decaying(64, 2.0)
    spectra = {"w": LayerSpectrum(64, 160, (sigma,))}
    recipe = choose_recipe(spectra)
    matrix = planted(64, 160, torch.from_numpy(sigma))
    for config, predicted in ((recipe.layers["w"], "error"), (FIXED_FIVE, "error_of_fixed_five")):
        off = orthonormalise(matrix.float(), config).double() - polar_factor(matrix)
        assert float(off.norm()) / 8 == pytest.approx(recipe.prediction[predicted], rel=0.05)


@pytest.mark.parametrize("level", [0.1, 0.5])
def test_a_spectrum_below_the_threshold_defeats_five_fixed_steps_but_not_the_recipe(level: float) -> None:
    """Stress case: half of the directions lie where the quintic's five steps leave them under a tenth."""
    sigma = torch.cat([torch.full((24,), 1.0), torch.full((24,), 1e-4 * 24**0.5)]).double()
    matrix = planted(48, 96, sigma)
    spectrum = (sigma / sigma.norm()).numpy()
    assert spectrum[-1] < failure_threshold(FIXED_FIVE)
    # Only the level asks for the weak half.
    wanted = RecipeConfig(1.0, level, margin=1.0, largest_error=10.0)
    config = choose_layer(LayerSpectrum(48, 96, (spectrum,)), wanted, CostModel())
    factor, left = polar_factor(matrix), torch.linalg.svd(matrix)[0]

    def weakest(chosen: PolarConfig) -> float:
        result = orthonormalise(matrix.float(), chosen).double()
        return float((left.T @ result @ factor.T @ left).diagonal()[24:].mean())

    assert weakest(FIXED_FIVE) < 0.1
    assert weakest(config) > level


def test_a_predicted_spectrum_serves_like_a_measured_one() -> None:
    sigma = decaying(128, 2.0)
    quantiles = {q: quantile(sigma, q) for q in QUANTILES}
    predicted = spectrum_from_quantiles(quantiles, 128)
    configs = [
        choose_layer(LayerSpectrum(128, 128, (each,)), RecipeConfig(), CostModel()) for each in (sigma, predicted)
    ]
    assert configs[0] == configs[1]


def test_the_cost_model_decides_between_methods() -> None:
    spectrum = LayerSpectrum(64, 64, (decaying(64, 2.5),))
    dear_factorisations = CostModel((1,), (1e3,), (1e3,))
    assert choose_layer(spectrum, RecipeConfig(), dear_factorisations).is_polynomial
    assert choose_layer(spectrum, RecipeConfig(), replace(dear_factorisations, eigh=(0.1,))).method == "eigh"
    assert (
        choose_layer(spectrum, RecipeConfig(), replace(dear_factorisations, cholesky_inverse=(0.1,))).method == "halley"
    )
