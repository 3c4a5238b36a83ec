"""The log of spectra on disk, what is drawn of it, and the commands that read it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from policy_server.muon.errors import SpectrumError
from policy_server.muon.layers import assign_layers, muon_parameters
from policy_server.muon.optimizer import Muon
from policy_server.muon.recipe_file import read_recipe
from policy_server.muon.spectrum_log import SpectrumLog, interval_for, layer_spectra, read_spectra
from policy_server.muon.spectrum_plots import plot_quantiles, plot_spectra
from tests.policy_server.muon.small_network import RULE, SmallNetwork, draw_gradients

ROOT = Path(__file__).parents[3]


def log_steps(folder: Path, steps: range, every: int = 2, resumed_at: int = 0) -> SpectrumLog:
    network = SmallNetwork()
    optimizer = Muon(muon_parameters(network, RULE), lr=0.01)
    log = SpectrumLog(folder, assign_layers(network, RULE), every, resumed_at)
    for step in steps:
        draw_gradients(network, step)
        optimizer.step()
        log.observe(step, optimizer.matrices())
    return log


def test_every_part_of_every_matrix_is_logged_every_n_steps(tmp_path: Path) -> None:
    log = log_steps(tmp_path, range(1, 8), every=3)
    rows = read_spectra(tmp_path)
    assert sorted({row.step for row in rows}) == [3, 6]
    assert len(rows) == 2 * 7  # six matrices, one of them in two parts
    parts = [row for row in rows if row.name == "key_value.weight" and row.step == 3]
    assert [(row.part, row.type, row.rows, row.columns) for row in parts] == [(0, "K", 6, 10), (1, "V", 6, 10)]
    assert log.spent_s > 0


def test_what_is_logged_is_the_spectrum_of_what_was_orthonormalised(tmp_path: Path) -> None:
    network = SmallNetwork()
    optimizer = Muon(muon_parameters(network, RULE), lr=0.01)
    draw_gradients(network, 0)
    optimizer.step()
    SpectrumLog(tmp_path, assign_layers(network, RULE), 1).observe(1, optimizer.matrices())
    matrix = dict(optimizer.matrices())["mix.weight"][0].double()
    row = next(row for row in read_spectra(tmp_path) if row.name == "mix.weight")
    assert row.norm == pytest.approx(float(matrix.norm()))
    np.testing.assert_allclose(row.sigma, (torch.linalg.svdvals(matrix) / matrix.norm()).numpy(), atol=1e-6)


def test_a_resumed_run_leaves_the_log_of_an_unbroken_one(tmp_path: Path) -> None:
    log_steps(tmp_path / "whole", range(1, 7))
    log_steps(tmp_path / "broken", range(1, 7))
    network_gone_on = SpectrumLog(tmp_path / "broken", [], 2, step=3)
    assert [file.name for file in sorted((tmp_path / "broken").iterdir())] == ["step_00000002.parquet"]
    assert not network_gone_on.observe(3, [])


def test_a_missing_or_damaged_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpectrumError, match="no spectra in"):
        read_spectra(tmp_path)
    log_steps(tmp_path, range(1, 5))
    file = tmp_path / "step_00000004.parquet"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(SpectrumError, match=r"step_00000004\.parquet' is damaged"):
        read_spectra(tmp_path)


def test_a_recipe_is_asked_to_serve_all_measurements_that_are_read(tmp_path: Path) -> None:
    log_steps(tmp_path, range(1, 9))
    assert len(read_spectra(tmp_path)) == 4 * 7
    spectra = layer_spectra(read_spectra(tmp_path, last=3))
    assert len(spectra["mix.weight"].parts) == 3
    assert len(spectra["key_value.weight"].parts) == 6


@pytest.mark.parametrize(("measurement_s", "step_s", "interval"), [(0.3, 1.0, 10), (0.0001, 1.0, 1), (1.0, 0.05, 667)])
def test_the_interval_keeps_the_share(measurement_s: float, step_s: float, interval: int) -> None:
    assert interval_for(measurement_s, step_s) == interval
    assert measurement_s / (interval * step_s) <= 0.03


@pytest.mark.slow
def test_pictures_are_drawn(tmp_path: Path) -> None:
    log_steps(tmp_path / "log", range(1, 5))
    rows = read_spectra(tmp_path / "log")
    plot_quantiles(rows, tmp_path / "quantiles.png")
    plot_spectra(rows, 4, tmp_path / "spectra.png")
    for name in ("quantiles.png", "spectra.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "policy_server.muon", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_commands_write_a_recipe_and_pictures(tmp_path: Path) -> None:
    log_steps(tmp_path / "log", range(1, 5))
    ended = run("recipe", tmp_path / "log", "--output", tmp_path / "recipe.yaml")
    assert ended.returncode == 0, ended.stderr
    recipe = read_recipe(tmp_path / "recipe.yaml")
    assert set(recipe.layers) == set(layer_spectra(read_spectra(tmp_path / "log")))
    Muon(muon_parameters(SmallNetwork(), RULE), recipe=recipe)
    ended = run("plot", tmp_path / "log", "--output", tmp_path / "pictures")
    assert ended.returncode == 0, ended.stderr
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2
    ended = run("plot", tmp_path / "nowhere")
    assert (ended.returncode, ended.stderr.splitlines()[-1][:7]) == (2, "error: ")
    assert "example: python -m policy_server.muon" in run("--help").stdout
