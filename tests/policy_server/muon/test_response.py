"""Failure thresholds against the published figures and against brute force."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policy_server.muon.configuration import PolarConfig, describe_config
from policy_server.muon.polar import orthonormalise, polar_factor
from policy_server.muon.response import failure_threshold, orthogonalisation_error, response
from policy_server.muon.spectrum import schatten4
from tests.policy_server.muon.planted import planted


@pytest.mark.parametrize(
    ("config", "at_tenth", "at_half"),
    [
        (PolarConfig("jordan", 3, "direct"), 2.45e-3, 1.27e-2),
        (PolarConfig("jordan", 5, "direct"), 2.07e-4, 1.07e-3),
        (PolarConfig("jordan", 7, "direct"), 1.74e-5, 9.0e-5),
        (PolarConfig("polar_express", 5, "direct"), 1.03e-4, 5.3e-4),
        (PolarConfig("polar_express", 8, "direct"), 1.6e-5, 8.5e-5),
    ],
)
def test_thresholds_are_those_that_the_paper_knows(config: PolarConfig, at_tenth: float, at_half: float) -> None:
    assert failure_threshold(config, 0.1) == pytest.approx(at_tenth, rel=0.02)
    assert failure_threshold(config, 0.5) == pytest.approx(at_half, rel=0.02)


CONFIGS = st.one_of(
    st.builds(
        PolarConfig,
        st.sampled_from(["jordan", "polar_express", "cubic"]),
        st.integers(1, 9),
        st.sampled_from(["direct", "gram"]),
        scale=st.sampled_from(["frobenius", "schatten4"]),
        restart_every=st.integers(0, 3),
    ),
    st.builds(PolarConfig, st.just("halley"), st.integers(1, 4), st.just("gram"), lower=st.floats(1e-4, 0.5)),
    st.just(PolarConfig("eigh", 1, "gram")),
)


@given(CONFIGS, st.floats(0.02, 0.6))
def test_a_threshold_is_where_a_fine_grid_first_reaches_the_level(config: PolarConfig, level: float) -> None:
    threshold = failure_threshold(config, level)
    grid = np.logspace(-9, 0, 40_001)
    reached = grid[response(config, grid) >= level]
    assert len(reached) > 0
    assert threshold <= reached[0] * (1 + 1e-9)
    assert threshold > reached[0] * 10 ** (-9 / 40_000) * (1 - 1e-6)


def test_a_level_that_is_never_reached_is_infinitely_far() -> None:
    assert failure_threshold(PolarConfig("custom", 1, "direct", coefficients=((0.01, 0.0, 0.0),)), 0.1) == math.inf


def test_a_smaller_norm_lifts_the_spectrum_and_lowers_the_threshold() -> None:
    config = PolarConfig("polar_express", 4, "direct", scale="schatten4")
    plain = failure_threshold(config)
    assert failure_threshold(config, schatten4=0.25) == pytest.approx(plain / 4, rel=1e-6)


def test_more_steps_lower_the_threshold_until_rounding_stops_them() -> None:
    direct = [failure_threshold(PolarConfig("polar_express", steps, "direct")) for steps in range(1, 12)]
    gram = [failure_threshold(PolarConfig("polar_express", steps, "gram")) for steps in range(1, 12)]
    assert all(after < before for before, after in itertools.pairwise(direct))
    assert gram[-1] > 4e-5
    assert direct[-1] < 4e-6


def test_two_halley_steps_reach_below_five_quintic_steps_with_a_fraction_of_the_error() -> None:
    halley, five = PolarConfig("halley", 2, "gram"), PolarConfig("jordan", 5, "direct")
    sigma = np.logspace(-2.5, -0.5, 100)
    assert failure_threshold(halley) < failure_threshold(five)
    assert orthogonalisation_error(halley, sigma) < 0.2 * orthogonalisation_error(five, sigma)


@pytest.mark.parametrize("decades", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("shape", [(64, 160), (200, 96)])
@pytest.mark.parametrize(
    "config",
    [
        PolarConfig("halley", 2, "gram", "bfloat16", "schatten4"),
        PolarConfig("halley", 2, "gram", "bfloat16", "schatten4", lower=3e-5, restart_every=1),
        PolarConfig("polar_express", 5, "gram", "bfloat16", "schatten4"),
        PolarConfig("jordan", 5, "direct", "bfloat16"),
    ],
    ids=describe_config,
)
def test_the_error_that_rounding_adds_is_predicted(config: PolarConfig, shape: tuple[int, int], decades: float) -> None:
    sigma = np.logspace(0, -decades, min(shape))
    sigma /= np.linalg.norm(sigma)
    matrix = planted(*shape, torch.from_numpy(sigma))
    off = orthonormalise(matrix.float(), config).double() - polar_factor(matrix)
    predicted = orthogonalisation_error(config, sigma, schatten4=schatten4(sigma))
    assert float(off.norm()) / math.sqrt(len(sigma)) == pytest.approx(predicted, rel=0.1)
