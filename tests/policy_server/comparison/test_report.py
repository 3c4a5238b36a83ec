import csv
from pathlib import Path

import pytest

from policy_server.comparison import report
from policy_server.comparison.report import write_report
from policy_server.comparison.runs import Run, Runs, choose_rates
from policy_server.sweep.report import NothingDoneError
from tests.policy_server.comparison.small_comparison import finish, small_comparison

LOSSES = {"adamw": 0.5, "torch_muon": 0.4, "recipe": 0.3}


def test_nothing_is_written_before_a_run_is_done(tmp_path: Path) -> None:
    config = small_comparison(tmp_path)
    runs = Runs(config)
    with pytest.raises(NothingDoneError, match="no run of 'small' is done"):
        write_report(config, runs.tuning(), runs.compared({("unet", "recipe"): 0.1}), "comparison.yaml")


def finish_with_curve(run: Run) -> None:
    finish(run, LOSSES[run.contestant] * (1 + 0.1 * run.seed), flops=5e8, flops_of_fixed_five=1e9, flops_of_run=1.2e10)
    rows = "".join(f"{step},{1 / step},0.1\n" for step in range(10, 210, 10))
    (run.training.output / "loss.csv").write_text(f"step,loss,seconds\n{rows}")


@pytest.mark.slow
def test_the_report_has_tables_plots_and_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "step_times_s", lambda runs, rounds, output: {run.contestant: 0.01 for run in runs})
    config = small_comparison(tmp_path)
    made = Runs(config)
    tuning = made.tuning()
    for run in tuning:
        finish_with_curve(run)
    runs = made.compared(choose_rates(config, tuning))
    for run in runs[:-1]:
        finish_with_curve(run)
    page = write_report(config, tuning, runs, "comparison.yaml")
    text = page.read_text()
    assert "5 of 6 runs are done" in text and "Not done: unet-recipe-lr0.005-s1." in text
    assert "| unet | recipe | 0.005 | that of torch_muon |" in text
    assert "at the end of what was tried" in text
    assert "| unet | recipe / adamw | 1 | 0.600 (0.000 to inf) |" in text
    assert "| 0.50 | 0.60 |" in text  # of five, whole run
    for plot in ("muon_small.png", "muon_small_stress.png"):
        assert plot in text and (page.parent / plot).exists()
    with (page.parent / "muon_small_runs.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["compared"] for row in rows] == ["False"] * 2 + ["True"] * 5
