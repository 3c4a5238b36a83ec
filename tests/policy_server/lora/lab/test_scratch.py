"""From random weights: the reduced single neuron against all of its coordinates, and the whole layer against differences."""

import numpy as np
import pytest

from policy_server.lora.lab.activations import ACTIVATIONS
from policy_server.lora.lab.dynamics import BatchSettings, Run
from policy_server.lora.lab.scratch import CorrelationalNeuron, ScratchNetwork, teacher_rows
from tests.policy_server.lora.lab.small_lab import cells_of

BATCH = BatchSettings(0, 3, "float64")
D, K = 20, 5


def runs(student: str) -> list[Run]:
    return [Run(cell, 1) for cell in cells_of(student=student, activation="he3", dimensions=(D,), scales=(0.1,))]


def test_the_reduced_neuron_moves_as_all_of_its_coordinates() -> None:
    neuron = CorrelationalNeuron(runs("correlational"), BATCH)
    source = np.random.default_rng(0)
    # A full vector with the same coordinates in the directions that the teacher sees.
    inside = neuron.state()["inside"][0]
    rest = source.standard_normal((3, D - K - 1))
    rest *= np.sqrt((1 - (inside**2).sum(-1)) / (rest**2).sum(-1))[:, None]
    vector = np.concatenate([inside, rest], axis=-1)
    for _ in range(100):
        x, wanted = source.standard_normal((3, D)), source.standard_normal((1, 3))
        outside = vector.copy()
        outside[:, : K + 1] = 0
        aside = np.vecdot(outside / np.linalg.norm(outside, axis=-1, keepdims=True), x)
        neuron._step(x[:, : K + 1], aside, np.vecdot(x, x)[None], wanted)
        seen = np.vecdot(vector, x)
        pull = neuron._factor[0] * wanted[0] * ACTIVATIONS["he3"].with_slope(seen)[1]
        vector = vector + pull[:, None] * (x - seen[:, None] * vector)
        vector /= np.linalg.norm(vector, axis=-1, keepdims=True)
        np.testing.assert_allclose(neuron.state()["inside"][0], vector[:, : K + 1], atol=1e-9)


def test_the_neuron_begins_anywhere_on_the_sphere() -> None:
    many = CorrelationalNeuron(runs("correlational"), BatchSettings(0, 2000, "float64"))
    assert (many.overlap() ** 2).mean() == pytest.approx((K + 1) / D, rel=0.1)


def test_teacher_rows_have_length_one_and_lean_towards_u() -> None:
    network = ScratchNetwork(runs("scratch"), BATCH)
    rows = teacher_rows(network._problem)[0]
    np.testing.assert_allclose(np.linalg.norm(rows, axis=-1), 1)
    np.testing.assert_allclose(np.abs(rows[..., -1]), np.sqrt(0.5))  # ξ = √k, quantised c


def test_a_network_that_is_the_teacher_stays_and_has_no_loss() -> None:
    network = ScratchNetwork(runs("scratch"), BATCH)
    weights = np.zeros((1, 3, K, D))
    weights[..., : K + 1] = teacher_rows(network._problem)
    network.restore({"weights": weights})
    assert network.advance(0, 50).max() < 1e-20
    np.testing.assert_allclose(network.state()["weights"], weights, atol=1e-9)
    np.testing.assert_allclose(network.overlap(), 1)


def test_a_network_from_random_weights_learns() -> None:
    network = ScratchNetwork(
        [Run(cell, 1) for cell in cells_of(student="scratch", dimensions=(D,), scales=(0.3,))], BATCH
    )
    first = network.advance(0, 50)
    for block in range(1, 20):
        last = network.advance(block, 50)
    assert (last < 0.5 * first).all()
