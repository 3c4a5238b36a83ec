"""The reduced dynamics is the plain one: path by path on the same samples, and in law on samples of its own."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from policy_server.lora.lab.directions import PlainDirection, ReducedDirection
from tests.policy_server.lora.lab.small_lab import batch_of

D, INSTANCES, RUNS = 30, 4, 2


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture
def plain() -> PlainDirection:
    source = np.random.default_rng(0)
    return PlainDirection(
        unit(source.standard_normal((RUNS, INSTANCES, D))), unit(source.standard_normal((INSTANCES, D)))
    )


def test_both_move_alike_on_the_same_samples(plain: PlainDirection) -> None:
    source = np.random.default_rng(1)
    reduced = ReducedDirection(plain.overlap)
    target = plain._target
    for _ in range(200):
        x, weight = source.standard_normal((1, INSTANCES, D)), 0.2 * source.standard_normal((RUNS, INSTANCES))
        # What the reduction draws, here measured: along u, along the part of û aside of it, and the length of the rest.
        aside = unit(plain.vector - plain.overlap[..., None] * target)
        along = np.vecdot(target, x[0])
        beside = np.vecdot(aside, x[0])
        rest = np.vecdot(x[0], x[0]) - along**2 - beside**2
        plain.give(x)
        seen = plain.seen(0)
        # One run at a time: a shared sample lies differently to the û of each run.
        for run in range(RUNS):
            alone = ReducedDirection(reduced.overlap[run : run + 1])
            alone.give(along[None], beside[run][None], rest[run][None, None])
            np.testing.assert_allclose(alone.seen(0)[0], seen[run], atol=1e-9)
            alone.move(0, alone.seen(0), weight[run : run + 1])
            reduced.overlap[run] = alone.overlap[0]
        plain.move(0, seen, weight)
        np.testing.assert_allclose(reduced.overlap, plain.overlap, atol=1e-9)


def test_the_plain_direction_stays_on_the_sphere(plain: PlainDirection) -> None:
    plain.give(np.random.default_rng(2).standard_normal((1, INSTANCES, D)))
    plain.move(0, plain.seen(0), np.full((RUNS, INSTANCES), 0.7))
    np.testing.assert_allclose(np.linalg.norm(plain.vector, axis=-1), 1)


@pytest.mark.parametrize("overlap", [0.0, 0.6, 1.0, -1.0])
def test_a_step_of_no_length_changes_nothing(overlap: float) -> None:
    direction = ReducedDirection(np.full((1, 1), overlap))
    direction.give(np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1, 1)))
    direction.move(0, direction.seen(0), np.zeros((1, 1)))
    assert direction.overlap == pytest.approx(overlap)


def test_the_overlap_never_leaves_its_interval() -> None:
    source = np.random.default_rng(3)
    direction = ReducedDirection(np.array([[1.0, -1.0, 0.999999]]))
    direction.give(source.standard_normal((300, 3)), source.standard_normal((300, 3)), np.zeros((300, 1, 3)))
    for step in range(300):
        direction.move(step, direction.seen(step), 10 * source.standard_normal((1, 3)))
        assert np.abs(direction.overlap).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "he3"])
def test_both_methods_agree_in_law(activation: str) -> None:
    """Two hundred teachers of each after the same number of steps; the same teachers, samples of their own."""
    found = []
    for method in ("reduced", "plain"):
        batch = batch_of(200, activation=activation, method=method, dimensions=(20,), scales=(0.05,))
        for block in range(12):
            batch.advance(block, 100)
        found.append(batch.overlap().ravel())
    assert ks_2samp(*found).pvalue > 0.01
    # The check has power: half the step size is seen at once.
    other = batch_of(200, activation=activation, dimensions=(20,), scales=(0.01,))
    for block in range(12):
        other.advance(block, 100)
    assert ks_2samp(found[1], other.overlap().ravel()).pvalue < 0.01
