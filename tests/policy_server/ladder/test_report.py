import csv
from pathlib import Path

import pytest

from policy_server.ladder.report import analyse, write_report
from policy_server.ladder.rungs import Rung
from policy_server.sweep.jobs import DONE_FILE
from policy_server.sweep.report import NothingDoneError
from policy_server.sweep.trainings import make_training
from tests.policy_server.ladder.planted import config, planted_rungs


def test_nothing_is_written_before_a_run_is_done(tmp_path: Path) -> None:
    rungs = planted_rungs(tmp_path)
    for rung in rungs:
        (rung.training.output / DONE_FILE).unlink()
    with pytest.raises(NothingDoneError, match="no run of 'planted' is done"):
        write_report(config(tmp_path), rungs, "ladder.yaml")
    assert not (tmp_path / "results").exists()


def test_half_a_ladder_is_analysed_as_far_as_it_goes(tmp_path: Path) -> None:
    rungs = planted_rungs(tmp_path)
    (rungs[-1].training.output / DONE_FILE).unlink()
    (rungs[-2].training.output / DONE_FILE).unlink()
    analysis = analyse(config(tmp_path), rungs)
    assert len(analysis.done) == 3 and analysis.laws and not analysis.held_out


@pytest.mark.slow
def test_the_report_has_tables_plots_and_what_was_written_by_hand(tmp_path: Path) -> None:
    planted, rungs = config(tmp_path), planted_rungs(tmp_path)
    never = make_training("unet-never-s0", tmp_path / "never", 0, {"dataset": "data"})
    missing = Rung("unet", "never", 0, 1, never)
    page = tmp_path / "results" / "muon.md"
    page.parent.mkdir()
    page.write_text("# Muon\n\nBy hand.\n")
    assert write_report(planted, [*rungs, missing], "ladder.yaml") == page
    text = page.read_text()
    assert text.startswith("# Muon\n\nBy hand.\n")
    assert "5 of 6 runs are done" in text and "Not done: unet-never-s0." in text
    for question in ("plateau after the burn-in?", "follow a power", "largest size", "recipe serve?"):
        assert question in text
    for plot in ("steps", "exponents", "unet", "held_out"):
        assert f"muon_planted_{plot}.png" in text and (page.parent / f"muon_planted_{plot}.png").exists()
    with (page.parent / "muon_planted_laws.csv").open() as stream:
        laws = list(csv.DictReader(stream))
    assert len(laws) == 10 and all(0.1 < float(law["alpha"]) < 1.5 for law in laws if law["quantile"] == "0.5")
