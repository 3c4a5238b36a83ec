"""A small adapting study from the command line to its report, with real training."""

import subprocess
import sys
from pathlib import Path

import pytest

from policy_server.runtime.recording import read_dataset_info
from sim_bridge.study.table import read_table
from tests.sim_bridge.study.synthetic_study import ROOT

STUDY = (sys.executable, "-m", "sim_bridge.study", str(ROOT / "config/study/smoke_adaptation.yaml"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_base_is_trained_and_adapted_in_both_ways_and_each_is_run_in_both_worlds(tmp_path: Path) -> None:
    settings = (
        *(f"output={tmp_path / 'work'}", f"results={tmp_path / 'results'}"),
        *(f"tasks.reach_cued.dataset={tmp_path / 'reach_cued'}", f"collection.shifted={tmp_path / 'shifted'}"),
    )
    ended = subprocess.run([*STUDY, *settings], cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = {row.method: row for row in read_table(tmp_path / "results/smoke_adaptation.csv")}
    assert list(rows) == ["base", "unadapted", "lora_2", "full"]
    assert {row.base for row in rows.values() if row.shift} == {rows["base"].hash}
    assert [len(rows[method].as_built) for method in rows] == [0, 0, 3, 3]
    assert 0 < rows["lora_2"].trained_fraction < rows["full"].trained_fraction == 1
    assert [rows[method].steps for method in rows] == [30, 0, 10, 10]
    assert rows["unadapted"].bundle_hash == rows["base"].bundle_hash != rows["full"].bundle_hash
    assert read_dataset_info(tmp_path / "shifted/reach_cued_low_table_s0").shift["table_m"] == -0.06
    assert "### reach_cued, low_table" in (tmp_path / "results/smoke_adaptation.md").read_text()
