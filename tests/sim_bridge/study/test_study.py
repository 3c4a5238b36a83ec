"""A small study from the command line to its report, with real training, and killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sim_bridge.study.table import read_table
from tests.sim_bridge.study.synthetic_study import ROOT

STUDY = (sys.executable, "-m", "sim_bridge.study", str(ROOT / "config/study/smoke.yaml"))


def settings(folder: Path) -> list[str]:
    datasets = [f"tasks.{task}.dataset={folder / task}" for task in ("reach_cued", "push_to_goal")]
    return [f"output={folder / 'work'}", f"results={folder / 'results'}", *datasets]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*STUDY, *settings(folder), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=500, check=False
    )


def wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def processes_of(folder: Path) -> list[str]:
    """Commands that name the folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_that_is_killed_goes_on_to_its_report(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        study = subprocess.Popen([*STUDY, *settings(tmp_path)], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    try:
        checkpoints = lambda: list((tmp_path / "work").glob("*/train/checkpoint.pt"))  # noqa: E731
        assert wait_for(lambda: bool(checkpoints()) or study.poll() is not None, 200), (tmp_path / "log").read_text()
        os.kill(study.pid, signal.SIGKILL)
    finally:
        study.kill()
        study.wait()
    assert wait_for(lambda: processes_of(tmp_path) == [], 20), processes_of(tmp_path)
    cell = checkpoints()[0].parents[1]
    was_trained = (cell / "stages.json").exists()

    again = run(tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    if not was_trained:
        assert "from step 0 " not in (cell / "train.log").read_text()
    table = read_table(tmp_path / "results/smoke.csv")
    assert [(row.task, row.context_length) for row in table] == [
        (task, length) for task in ("reach_cued", "push_to_goal") for length in (2, 8)
    ]
    assert all((row.episodes, row.steps, row.observations) == (3, 30, "features") for row in table)
    report = (tmp_path / "results/smoke.md").read_text()
    assert "4 of 4 cells" in report and "### Long against short" in report
    assert list((tmp_path / "work").glob("*/bundle")) == list((tmp_path / "work").glob("*/train")) == []
    episodes = json.loads(next((tmp_path / "work").glob("*/cell.json")).read_text())["episodes"]
    assert [episode["seed"] for episode in episodes] == [0, 1, 2]

    nothing = run(tmp_path)
    assert nothing.returncode == 0 and "0 of 4 cells to run" in nothing.stdout
    assert read_table(tmp_path / "results/smoke.csv") == table


def test_a_dry_run_lists_the_cells_and_does_nothing(tmp_path: Path) -> None:
    listed = run(tmp_path, "--dry-run", "--only", "reach_cued")
    assert listed.returncode == 0, listed.stderr
    lines = listed.stdout.splitlines()
    assert len(lines) == 3 and lines[0].startswith("to run   reach_cued-c2-d6-naive-unet_film-s0-")
    assert lines[-1] == "2 of 2 cells to run" and list(tmp_path.iterdir()) == []


def test_a_mistake_in_the_study_is_one_line(tmp_path: Path) -> None:
    refused = run(tmp_path, "keep_bundle=true")
    assert refused.returncode == 2
    assert refused.stderr.strip().endswith("unknown key 'keep_bundle'; did you mean 'keep_bundles'?")
