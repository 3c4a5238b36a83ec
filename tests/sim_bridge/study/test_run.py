import sys
from pathlib import Path

import pytest

from sim_bridge.study.cell_run import CELL_FILE
from sim_bridge.study.engine import LocalEngine, visible_gpus
from sim_bridge.study.plan import make_plan
from sim_bridge.study.progress import Display
from sim_bridge.study.run import RunLimits, run_cells
from sim_bridge.study.table import read_table
from tests.sim_bridge.study.fake_commands import COMMANDS_FILE
from tests.sim_bridge.study.synthetic_study import fake_commands, result, study

PYTHON = sys.executable  # before it is replaced


@pytest.fixture(autouse=True)
def _fake(monkeypatch, tmp_path) -> None:
    fake_commands(monkeypatch, tmp_path)


def with_fault(**fault):
    """Four cells; those of the method ``vht`` have the fault."""
    methods = {"naive": {}, "vht": {"training": {"fake": fault}}}
    grid = {"task": ["reach_cued"], "context_length": [2, 8], "method": ["vht", "naive"]}
    return study(methods=methods, grids=[grid])


def run(plan, workers: int = 2, **limits):
    with Display() as display:
        return run_cells(plan, LocalEngine(workers, 0), RunLimits(**limits), display)


def test_all_cells_are_run_and_are_in_the_table_in_their_order(tmp_path) -> None:
    plan = make_plan(study(), tmp_path)
    assert run(plan) == []
    assert [row.cell for row in read_table(plan.table)] == [cell.id for cell in plan.cells]
    assert make_plan(study(), tmp_path).pending() == []


@pytest.mark.slow
def test_a_cell_that_fails_does_not_keep_the_others(tmp_path) -> None:
    plan = make_plan(with_fault(fail="train"), tmp_path)
    run(plan, workers=1)
    assert len(plan.failures) == len(plan.results) == 2
    again = make_plan(with_fault(fail="train"), tmp_path)
    assert again.pending() == [] and again.failures == plan.failures
    again.forget_failures("*c2-*")
    assert [cell.context_length for cell in again.pending()] == [2]


def test_only_cells_that_were_asked_for_are_run(tmp_path) -> None:
    plan = make_plan(study(), tmp_path)
    run(plan, only="push_to_goal-c8")
    assert [row.cell[:15] for row in read_table(plan.table)] == ["push_to_goal-c8"]


@pytest.mark.slow
def test_a_fresh_checkout_goes_on_from_the_table(tmp_path) -> None:
    first = make_plan(study(), tmp_path / "first")
    run(first, only="reach_cued")
    elsewhere = tmp_path / "second"
    elsewhere.mkdir()
    (tmp_path / "first/results").rename(elsewhere / "results")
    plan = make_plan(study(), elsewhere)
    assert {cell.task for cell in plan.pending()} == {"push_to_goal"}
    run(plan)
    assert len(read_table(plan.table)) == 4


def test_no_cell_is_begun_that_would_not_fit(tmp_path) -> None:
    plan = make_plan(study(), tmp_path)
    slow = result(task="reach_cued", steps=30, step_s=100.0, train_s=3000.0, evaluate_s=4.0)
    quick = result(
        task="push_to_goal", steps=50, step_s=0.02, train_s=1.0, evaluate_s=4.0, export_s=1.0, backbone="unet_attention"
    )
    plan.results |= {"slow": slow, "quick": quick}
    left = run(plan, only="c8", time_limit_s=100.0)
    assert [cell.task for cell in left] == ["reach_cued"]
    assert [cell.task for cell in plan.cells if cell.hash in plan.results] == ["push_to_goal"]


def test_nothing_is_begun_when_the_time_is_over(tmp_path) -> None:
    plan = make_plan(study(), tmp_path)
    assert len(run(plan, time_limit_s=0.0)) == 4 and not (tmp_path / "runs").exists()


def test_an_interruption_ends_the_cells_at_work_and_loses_nothing(tmp_path, monkeypatch) -> None:
    plan = make_plan(with_fault(hang="export"), tmp_path)

    def interrupt_in_export(display, status) -> None:
        if any(cell.stage == "export" and cell.share for cell in status.running):
            raise KeyboardInterrupt

    monkeypatch.setattr(Display, "show", interrupt_in_export)
    with pytest.raises(KeyboardInterrupt):
        run(plan, workers=1, only="c8-*vht")
    (cell,) = plan.pending("c8-*vht")
    folder = plan.folder(cell)
    assert (folder / COMMANDS_FILE).read_text().split() == ["train", "export"]
    assert not (folder / CELL_FILE).exists()
    assert not still_running(tmp_path)


def still_running(folder: Path) -> bool:
    """Whether any process names the folder in its command."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in file.read_bytes():
                return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize(
    ("chosen", "given"),
    [(None, ["0", "1", "0", "1"]), ("2,5", ["2", "5", "2", "5"]), ("GPU-a, GPU-b", ["GPU-a", "GPU-b"] * 2)],
)
def test_gpus_are_shared_among_the_workers(tmp_path, monkeypatch, chosen, given) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    seen = []
    monkeypatch.setattr(
        "sim_bridge.study.engine.CellProcess", lambda job, environment: seen.append((job, environment)) or object()
    )
    plan = make_plan(study(), tmp_path)
    engine = LocalEngine(workers=4, gpus=2)
    for cell in plan.cells:
        engine.submit(plan.job(cell))
    assert [environment["CUDA_VISIBLE_DEVICES"] for _, environment in seen] == given


@pytest.mark.parametrize(("chosen", "found"), [(None, 3), ("0,2", 2), ("", 0), ("0,1,2,3", 3)])
def test_gpus_are_those_that_the_environment_leaves(tmp_path, monkeypatch, chosen, found) -> None:
    for name in "abc":
        (tmp_path / "gpus" / name).mkdir(parents=True)
    monkeypatch.setattr("sim_bridge.study.engine._NVIDIA_DEVICES", tmp_path / "gpus")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert visible_gpus() == found
