"""The whole command, with real trainings in processes of their own."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import yaml

from policy_server.compare_optimizers import main
from policy_server.comparison.configuration import ContestantConfig
from policy_server.runtime.configuration import to_plain
from tests.policy_server.comparison.small_comparison import ADAPTIVE, small_comparison

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    contestants = {
        "torch_muon": ContestantConfig({"kind": "torch_muon"}, (5e-3,)),
        "recipe": ContestantConfig({"kind": "muon", "muon": ADAPTIVE}, rate_of="torch_muon"),
    }
    config = small_comparison(tmp_path, seeds=(0,), contestants=contestants, pairs=(("recipe", "torch_muon"),))
    written = tmp_path / "comparison.yaml"
    written.write_text(yaml.safe_dump(to_plain(config)))
    return written


def test_it_stops_goes_on_and_reports(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["compare_optimizers", str(file), "--workers", "1", *arguments])
        return main(), capsys.readouterr().out

    def stop() -> None:
        while not list((tmp_path / "runs").glob("*/checkpoint.pt")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    stopper = threading.Thread(target=stop)
    stopper.start()
    status, said = run()
    stopper.join()
    assert status == 130 and "the same command goes on" in said
    status, said = run()
    assert status == 0 and said.splitlines()[-1].endswith("tables and plots beside it")
    assert "2 of 2 runs are done" in (tmp_path / "results/muon.md").read_text()
    status, said = run("--dry-run")
    assert status == 0 and said.splitlines()[-1].startswith("0 of 2 runs to do")
