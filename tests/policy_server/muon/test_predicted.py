"""Spectra that a law predicts, for a model that has not been trained."""

import itertools

import pytest

from policy_server.muon.errors import SpectrumError
from policy_server.muon.layers import assign_layers, muon_parameters
from policy_server.muon.optimizer import Muon
from policy_server.muon.predicted import predicted_spectra
from policy_server.muon.recipe import choose_recipe
from policy_server.muon.spectrum import quantile
from tests.policy_server.muon.small_network import RULE, SmallNetwork

QUANTILES = {0.1: 0.3, 0.5: 0.1, 0.9: 0.02}
TYPES = ("K", "V", "conv", "linear")


def test_every_layer_gets_the_spectrum_of_its_type_and_depth_and_a_recipe() -> None:
    network = SmallNetwork()
    law = dict.fromkeys(itertools.product(TYPES, range(1, 5)), QUANTILES)
    law["V", 4] = {q: value / 10 for q, value in QUANTILES.items()}
    spectra = predicted_spectra(assign_layers(network, RULE), law)
    keys, values = spectra["key_value.weight"].parts
    assert quantile(values, 0.5) == pytest.approx(quantile(keys, 0.5) / 10)
    assert (spectra["mix.weight"].rows, spectra["mix.weight"].columns) == (12, 12)
    optimizer = Muon(muon_parameters(network, RULE), recipe=choose_recipe(spectra))
    assert set(optimizer.configurations()) == set(spectra)


def test_a_type_that_the_law_does_not_know_is_named() -> None:
    with pytest.raises(SpectrumError, match=r"'first\.weight': no quantiles for type 'conv'"):
        predicted_spectra(assign_layers(SmallNetwork(), RULE), {})
