import math
from pathlib import Path

import numpy as np
import pytest

from policy_server.ladder.configuration import PlateauConfig
from policy_server.ladder.plateau import is_plateau, plateau_values, read_curves
from policy_server.muon.errors import SpectrumError
from policy_server.muon.spectrum import QUANTILES
from tests.policy_server.ladder.planted import STEPS, planted_rungs


def test_a_curve_per_type_and_depth_with_all_measurements(tmp_path: Path) -> None:
    curves = read_curves(planted_rungs(tmp_path)[0])
    assert [(curve.type, curve.quarter, curve.matrices) for curve in curves] == [("O", 4, 1), ("Q", 4, 1)]
    assert tuple(curves[0].steps) == STEPS and curves[0].log_sigma.shape == (len(STEPS), len(QUANTILES))


def test_the_burn_in_is_left_out_and_told(tmp_path: Path) -> None:
    rung = planted_rungs(tmp_path, alpha=0.3)[0]
    by_quantile = {value.quantile: value for value in plateau_values(read_curves(rung)[:1], PlateauConfig(30))}
    sigma = np.exp(-0.6 * math.log(1000) * np.linspace(0, 1, 16))
    expected = sigma[7] / np.linalg.norm(sigma)
    assert by_quantile[0.5].sigma == pytest.approx(expected, rel=1e-5)
    assert by_quantile[0.5].drift == pytest.approx(0, abs=1e-5)
    assert by_quantile[0.9].burn_in < -1  # steeper at first, so lower


def test_a_drift_is_the_change_over_the_plateau(tmp_path: Path) -> None:
    curve = read_curves(planted_rungs(tmp_path)[0])[0]
    curve.log_sigma[:, 2] = np.arange(len(STEPS)) * 0.1
    value = next(each for each in plateau_values([curve], PlateauConfig(20, 40)) if each.quantile == 0.5)
    assert value.drift == pytest.approx(0.2)
    assert value.sigma == pytest.approx(math.exp(0.2))


def test_a_quantile_at_rounding_is_marked(tmp_path: Path) -> None:
    rung = planted_rungs(tmp_path, alpha=1.2)[-1]
    deficient = [
        value.quantile for value in plateau_values(read_curves(rung)[:1], PlateauConfig(30)) if value.rank_deficient
    ]
    assert deficient == [0.75, 0.9]


def test_the_plateau_has_both_ends() -> None:
    steps = np.array(STEPS, np.float64)
    assert is_plateau(steps, PlateauConfig(20)).tolist() == [False, True, True, True, True]
    assert is_plateau(steps, PlateauConfig(20, 40)).tolist() == [False, True, True, True, False]


def test_too_few_measurements_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpectrumError, match="2 measurements from step 40 on"):
        plateau_values(read_curves(planted_rungs(tmp_path)[0]), PlateauConfig(40))
