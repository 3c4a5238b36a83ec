import json
import time

import pytest
import yaml

from sim_bridge.study.cell_run import CELL_FILE, CellProcess, Failure, Job, forget_failure, read_cell, stage_of
from sim_bridge.study.cells import make_cell
from sim_bridge.study.result import CellResult
from tests.sim_bridge.study.fake_commands import COMMANDS_FILE
from tests.sim_bridge.study.synthetic_study import fake_commands, study
from tests.sim_bridge.study.test_cells import CHOICE


def job(folder, keep_bundles: bool = False, **base) -> Job:
    cell = make_cell(study(base={"features": True, "steps": 30} | base), CHOICE)
    return Job(cell, folder / "cell", folder, keep_bundles)


def run(process: CellProcess, until: str | None = None):
    """Poll until the cell has ended, or has begun the command ``until``."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (end := process.poll()) is not None:
            return end
        folder = process._job.folder
        if until and (folder / f"{until}.log").exists() and "%" in (folder / f"{until}.log").read_text():
            return None
        time.sleep(0.02)
    pytest.fail("the cell did not end")


def commands(job: Job) -> list[str]:
    return (job.folder / COMMANDS_FILE).read_text().split()


@pytest.fixture(autouse=True)
def _fake(monkeypatch, tmp_path) -> None:
    fake_commands(monkeypatch, tmp_path)


def test_a_cell_is_trained_exported_and_evaluated(tmp_path) -> None:
    it = job(tmp_path)
    result = run(CellProcess(it))
    assert isinstance(result, CellResult) and commands(it) == ["train", "export", "evaluate"]
    assert (result.cell, result.hash, result.outcomes, result.completed) == (it.cell.id, it.cell.hash, "1010", "1111")
    assert (result.steps, result.observations, result.evaluation_seed) == (30, "features", 100)
    assert (result.step_s, result.train_s) == (2.0, 60.0)  # three lines of the loss curve, two seconds a step
    assert result.final_loss == pytest.approx(1 / 30, abs=1e-6)
    assert read_cell(it.folder) == result
    content = json.loads((it.folder / CELL_FILE).read_text())
    assert content["configuration"] == {"seed": 0} and len(content["episodes"]) == 4


def test_the_training_file_says_where_the_run_goes(tmp_path) -> None:
    it = job(tmp_path)
    CellProcess(it)
    values = yaml.safe_load((it.folder / "training.yaml").read_text())
    assert values == {"name": it.cell.id, "output": str(it.folder / "train"), **it.cell.training}


def test_a_cell_in_stages_is_trained_by_the_command_of_stages(tmp_path) -> None:
    cell = make_cell(study(methods={"naive": {"stages": {"finetune_steps": 5}}}), CHOICE)
    it = Job(cell, tmp_path / "cell", tmp_path, keep_bundles=False)
    CellProcess(it)
    values = yaml.safe_load((it.folder / "training.yaml").read_text())
    assert values["finetune_steps"] == 5 and values["training"]["steps"] == 30


@pytest.mark.parametrize("keep", [False, True])
def test_checkpoints_and_bundles_are_kept_only_when_asked_for(tmp_path, keep: bool) -> None:
    it = job(tmp_path, keep_bundles=keep)
    run(CellProcess(it))
    assert (it.folder / "bundle").exists() == (it.folder / "train").exists() == keep
    assert (it.folder / ("train" if keep else "") / "loss.csv").exists()


@pytest.mark.parametrize("stage", ["train", "export", "evaluate"])
def test_a_cell_that_was_stopped_goes_on_with_the_command_it_was_in(tmp_path, stage: str) -> None:
    it = job(tmp_path, fake={"hang": stage})
    process = CellProcess(it)
    assert run(process, until=stage) is None
    assert stage_of(it.cell, it.folder) == (stage, 0.4)
    process.interrupt()
    process.end(grace_s=10)
    assert read_cell(it.folder) is None
    before = commands(it)
    # The same cell, by its folder; the fault that was asked for is gone.
    assert isinstance(run(CellProcess(job(tmp_path))), CellResult)
    everything = ["train", "export", "evaluate"]
    assert before + everything[everything.index(stage) :] == commands(it)


@pytest.mark.parametrize("stage", ["train", "export", "evaluate"])
def test_a_command_that_fails_is_named_with_its_error(tmp_path, stage: str) -> None:
    it = job(tmp_path, fake={"fail": stage})
    failure = run(CellProcess(it))
    assert isinstance(failure, Failure) and failure.stage == stage
    assert failure.error.startswith("the fault was asked for (status 2; see ")
    assert read_cell(it.folder) == failure


def test_a_command_that_someone_interrupted_is_begun_again(tmp_path) -> None:
    it = job(tmp_path, fake={"interrupt": "train"})
    assert isinstance(run(CellProcess(it)), CellResult)
    assert commands(it) == ["train", "train", "export", "evaluate"]


def test_results_that_cannot_be_read_are_a_failure(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("sim_bridge.study.cell_run.outcome_strings", lambda *_: {}["success"])
    failure = run(CellProcess(job(tmp_path)))
    assert isinstance(failure, Failure) and "success" in failure.error


def test_a_failed_cell_begins_again_with_the_command_that_failed(tmp_path) -> None:
    it = job(tmp_path, fake={"fail": "export"})
    run(CellProcess(it))
    forget_failure(it.folder)
    assert read_cell(it.folder) is None
    assert isinstance(run(CellProcess(job(tmp_path))), CellResult)
    assert commands(it) == ["train", "export", "export", "evaluate"]


def test_a_training_that_failed_begins_anew(tmp_path) -> None:
    it = job(tmp_path, fake={"fail": "train"})
    run(CellProcess(it))
    (it.folder / "train").mkdir(exist_ok=True)
    (it.folder / "train/checkpoint.pt").write_text("of another version")
    forget_failure(it.folder)
    assert not (it.folder / "train").exists()


def test_a_file_that_was_cut_off_is_as_if_it_were_not_there(tmp_path) -> None:
    it = job(tmp_path)
    it.folder.mkdir()
    (it.folder / "stages.json").write_text('{"train": 1')
    (it.folder / CELL_FILE).write_text("")
    assert read_cell(it.folder) is None
    assert isinstance(run(CellProcess(it)), CellResult)
