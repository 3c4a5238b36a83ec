"""A cell as a Ray task runs it, without Ray: on a machine that knows nothing but what it is sent."""

import dataclasses
from pathlib import Path

import pytest

from policy_server.runtime.errors import ConfigurationError
from sim_bridge.study.cell_run import CELL_FILE, Failure, Job, read_cell, record_failure
from sim_bridge.study.configuration import CollectionConfig
from sim_bridge.study.datasets import count_of
from sim_bridge.study.ray_engine import run_job
from sim_bridge.study.result import CellResult
from tests.sim_bridge.study.fake_commands import COMMANDS_FILE
from tests.sim_bridge.study.synthetic_study import fake_commands
from tests.sim_bridge.study.test_cell_run import job


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_commands(monkeypatch, tmp_path)


def run(it: Job) -> CellResult | Failure | None:
    """What comes back over the network, as the machine of the study reads it."""
    content = run_job(it, CollectionConfig())
    elsewhere = it.root / "back"
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / CELL_FILE).write_bytes(content)
    return read_cell(elsewhere)


def test_a_machine_without_demonstrations_collects_its_own_and_sends_the_result_back(tmp_path: Path) -> None:
    it = job(tmp_path)
    assert isinstance(run(it), CellResult)
    assert count_of(tmp_path / "data/reach_cued") >= it.cell.demonstrations == 100


def test_a_cell_that_failed_on_this_machine_before_begins_anew_when_it_is_asked_for_again(tmp_path: Path) -> None:
    it = job(tmp_path, keep_bundles=True)
    (it.folder / "train").mkdir(parents=True)
    (it.folder / "train/checkpoint.pt").write_text("of another version")
    record_failure(it, "train", "the checkpoint is of another version")
    assert isinstance(run(it), CellResult)
    assert (it.folder / COMMANDS_FILE).read_text().split() == ["train", "export", "evaluate"]
    assert (it.folder / "train/checkpoint.pt").read_text() == "trained"


def test_a_machine_without_the_project_says_so(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    it = dataclasses.replace(job(tmp_path), root=nowhere, folder=nowhere / "runs/cell")
    with pytest.raises(ConfigurationError, match="the project must be there"):
        run_job(it, CollectionConfig())
    assert not nowhere.exists(), "the next try must not take an empty folder for the project"


def test_demonstrations_that_cannot_be_collected_fail_the_cell(tmp_path: Path) -> None:
    it = job(tmp_path)
    failure = run(dataclasses.replace(it, cell=dataclasses.replace(it.cell, task="shell_game")))
    assert isinstance(failure, Failure) and failure.stage == "collect" and "status 2" in failure.error
