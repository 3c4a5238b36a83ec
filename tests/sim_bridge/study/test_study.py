"""A small study from the command line to its report, with real training, and killed in the middle."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from policy_server.training.configuration import ValidationConfig
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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cell_may_choose_its_checkpoint_by_real_rollouts(tmp_path: Path) -> None:
    """The trainer's own validation command, with two episodes instead of twenty."""
    command = ["2" if part == "20" else part for part in ValidationConfig().command]
    validated = {"naive": {"training": {"steps": 4, "validation": {"every": 2, "command": command}}}}
    grid = [{"task": ["reach_cued"], "context_length": [2], "backbone": ["unet_film"]}]
    ended = run(tmp_path, f"methods={json.dumps(validated)}", f"grids={json.dumps(grid)}", "keep_bundles=true")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (training,) = (tmp_path / "work").glob("*/train")
    with (training / "validation.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["step"], row["episodes"]) for row in rows] == [("2", "2"), ("4", "2")]
    best = max(rows, key=lambda row: (int(row["successes"]), int(row["step"])))
    manifest = yaml.safe_load((training.parent / "bundle/manifest.yaml").read_text())
    assert manifest["training"]["steps"] == int(best["step"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cell_of_pictures_may_be_trained_in_stages(tmp_path: Path) -> None:
    staged = {"encoder": {"objective": "reconstruction", "steps": 8, "batch_ticks": 12}, "finetune_steps": 3}
    grid = [{"task": ["reach_cued"], "context_length": [4], "backbone": ["unet_film"]}]
    changes = {
        "methods": {"naive": {"stages": staged}},
        "grids": grid,
        "collection": {"images": True},
        "base.features": False,
        "base.cameras": {"front": {"height": 32, "width": 32}},
        "base.steps": 5,
    }
    ended = run(tmp_path, *(f"{key}={json.dumps(value)}" for key, value in changes.items()))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (row,) = read_table(tmp_path / "results/smoke.csv")
    assert (row.observations, row.episodes, row.steps) == ("images", 3, 3), (
        "the last stage is the policy that is judged"
    )
    log = next((tmp_path / "work").glob("*/train.log")).read_text()
    assert "stage 4 of 4: finetuning" in log and "lamp_red" in log


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
