"""The whole command on a small laboratory."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from policy_server.lora.lab.__main__ import main
from policy_server.lora.lab.simulation import CHECKPOINT_FILE, RESULT_FILE
from policy_server.sweep.report import NothingDoneError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    small = {"neurons": [5], "scales": [0.2], "horizon": 20}
    values = {
        "name": "small",
        "output": str(tmp_path / "runs"),
        "results": str(tmp_path / "results"),
        "instances": 4,
        "resamples": 50,
        "fit": ["dimension"],
        "base": small,
        "series": {
            "frozen": {"dimensions": [20, 30, 40], "recover": True},
            "linearised": {"dimensions": [20], "student": "linearised", "max_steps": 500},
        },
    }
    written = tmp_path / "lab.yaml"
    written.write_text(yaml.safe_dump(values))
    return written


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["lab", *arguments])
    return main()


@pytest.mark.slow
def test_a_laboratory_is_run_and_reported(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, str(file)) == 0
    results = tmp_path / "results"
    page = (results / "lora.md").read_text()
    for part in ("### Laboratory: small", "Exponent of the steps in d", "c by regression", "linearised network"):
        assert part in page
    for name in ("overlap.png", "loss.png", "steps.png"):
        assert (results / f"lora_small_{name}").stat().st_size > 1000
        assert f"(lora_small_{name})" in page
    rows = list(csv.DictReader((results / "lora_small.csv").open()))
    assert len(rows) == 4 * 4
    assert capsys.readouterr().out.splitlines()[-1].endswith("tables and plots beside it")

    # Again: what others wrote stays, and nothing is run.
    (results / "lora.md").write_text(page + "\n## Adaptation of policies\n\nby somebody else\n")
    assert command(monkeypatch, str(file), "--report", "confidence=0.9") == 0
    again = (results / "lora.md").read_text()
    assert "by somebody else" in again and again.count("### Laboratory: small") == 1


def test_a_report_of_nothing_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NothingDoneError, match="run it without --report"):
        command(monkeypatch, str(file), "--report")


def newest_checkpoint_ns(folder: Path) -> int:
    return max((file.stat().st_mtime_ns for file in folder.glob(f"*/{CHECKPOINT_FILE}")), default=0)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_command_goes_on_where_it_was(file: Path, tmp_path: Path) -> None:
    """kill -9 in the middle, then Ctrl-C, then to the end: the same table as unbroken."""
    arguments = [sys.executable, "-m", "policy_server.lora.lab", str(file), "base.horizon=150", "base.ends_early=false"]
    for number, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        before = newest_checkpoint_ns(tmp_path / "runs")
        process = subprocess.Popen([*arguments, "checkpoint_every_s=0"], cwd=Path(__file__).parents[4])
        while newest_checkpoint_ns(tmp_path / "runs") == before:  # it is at work
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, number)
        assert process.wait(timeout=60) == status
    assert not list((tmp_path / "runs").glob(f"*/{RESULT_FILE}"))
    subprocess.run(arguments, cwd=Path(__file__).parents[4], check=True, timeout=100)
    broken = (tmp_path / "results/lora_small.csv").read_bytes()
    unbroken = [*arguments, f"output={tmp_path / 'unbroken'}", f"results={tmp_path / 'other'}"]
    subprocess.run(unbroken, cwd=Path(__file__).parents[4], check=True, timeout=100)
    assert (tmp_path / "other/lora_small.csv").read_bytes() == broken
