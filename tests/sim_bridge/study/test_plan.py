import dataclasses
import json

import pytest

from sim_bridge.study.cell_run import CELL_FILE, Failure, record_failure
from sim_bridge.study.plan import first_that_fits, make_plan
from sim_bridge.study.table import read_table, write_table
from tests.sim_bridge.study.adapting_study import GRID, adapting_study
from tests.sim_bridge.study.synthetic_study import result, study


def put_cell(plan, cell, **changes):
    """A finished cell in its folder."""
    found = result(hash=cell.hash, cell=cell.id, task=cell.task, context_length=cell.context_length, **changes)
    plan.folder(cell).mkdir(parents=True)
    (plan.folder(cell) / CELL_FILE).write_text(json.dumps({"status": "done", "result": dataclasses.asdict(found)}))
    return found


def test_results_come_from_folders_and_from_the_table(tmp_path) -> None:
    plan = make_plan(study(), tmp_path)
    put_cell(plan, plan.cells[0])
    write_table(plan.table, [result(hash=plan.cells[1].hash)])
    again = make_plan(study(), tmp_path)
    assert again.pending() == plan.cells[2:]
    assert [row.hash for row in again.ordered_results] == [cell.hash for cell in plan.cells[:2]]


def test_a_failure_is_pending_no_more_until_it_is_forgotten(tmp_path) -> None:
    plan = make_plan(study(), tmp_path)
    cell = plan.cells[0]
    plan.folder(cell).mkdir(parents=True)
    failure = {"cell": cell.id, "hash": cell.hash, "stage": "train", "error": "no memory"}
    (plan.folder(cell) / CELL_FILE).write_text(json.dumps({"status": "failed", "failure": failure}))
    again = make_plan(study(), tmp_path)
    assert again.failures == {cell.hash: Failure(**failure)} and cell not in again.pending()
    again.forget_failures()
    assert cell in again.pending() and cell in make_plan(study(), tmp_path).pending()


def test_a_failed_base_is_forgotten_for_the_chosen_cells_that_still_need_it(tmp_path) -> None:
    grid = GRID | {"seed": [0, 1], "demonstrations": [5]}
    plan = make_plan(adapting_study(grids=[grid]), tmp_path)
    bases = [cell for cell in plan.cells if cell.base is None]
    for base in bases:
        plan.failures[base.hash] = record_failure(plan.job(base), "train", "no memory")
    (adapted,) = [cell for cell in plan.cells if cell.base == bases[0]]
    plan.forget_failures("*lora*s0-")
    assert list(plan.failures) == [bases[1].hash] and plan.pending("*lora*s0-") == [bases[0], adapted]
    (done,) = [cell for cell in plan.cells if cell.base == bases[1]]
    plan.add(result(hash=done.hash))
    plan.forget_failures("*lora*s1-")
    assert list(plan.failures) == [bases[1].hash]


def test_rows_that_the_study_no_longer_asks_for_stay_in_the_table_but_are_no_results(tmp_path) -> None:
    plan = make_plan(study(), tmp_path)
    write_table(plan.table, [result(hash="of another configuration")])
    again = make_plan(study(), tmp_path)
    assert again.results == {} and len(again.pending()) == 4
    again.add(result(hash=again.cells[0].hash))
    assert [row.hash for row in read_table(plan.table)] == [again.cells[0].hash, "of another configuration"]


def test_names_are_those_that_the_study_uses_now(tmp_path) -> None:
    plan = make_plan(study(), tmp_path)
    write_table(plan.table, [result(hash=plan.cells[0].hash, method="plain")])
    grids = [{"task": ["reach_cued"], "context_length": [2], "demonstrations": [100]}]
    (row,) = make_plan(study(grids=grids), tmp_path).ordered_results
    assert (row.method, row.regime, row.cell) == ("naive", "100", plan.cells[0].id)


@pytest.mark.parametrize(
    ("only", "count"), [("*", 4), ("reach", 2), ("c8", 2), ("reach*c8", 1), ("c?-", 4), ("none", 0)]
)
def test_a_pattern_chooses_cells_by_any_part_of_their_names(tmp_path, only: str, count: int) -> None:
    assert len(make_plan(study(), tmp_path).pending(only)) == count


def test_the_first_cell_that_fits_is_chosen(tmp_path) -> None:
    plan = make_plan(study(), tmp_path)
    plan.results = {
        "a": result(context_length=2, step_s=10.0, train_s=10_000.0),
        "b": result(context_length=8, step_s=0.01, train_s=10.0),
    }
    assert first_that_fits(plan.cells, plan, None) is plan.cells[0]
    assert first_that_fits(plan.cells, plan, 10_000.0) is plan.cells[0]
    assert first_that_fits(plan.cells, plan, 60.0).context_length == 8
    assert first_that_fits(plan.cells, plan, 1.0) is None
    assert first_that_fits([], plan, None) is None


def test_a_cell_that_cannot_be_estimated_is_given_a_try_while_there_is_time(tmp_path) -> None:
    plan = make_plan(study(), tmp_path)
    assert first_that_fits(plan.cells, plan, 1.0) is plan.cells[0]
    assert first_that_fits(plan.cells, plan, 0.0) is None


def test_a_new_result_makes_new_estimates(tmp_path) -> None:
    plan = make_plan(study(), tmp_path)
    assert plan.estimate_s(plan.cells) == [None] * 4
    plan.add(result(hash=plan.cells[0].hash))
    assert None not in plan.estimate_s(plan.cells)


def test_what_started_from_a_policy_that_its_base_no_longer_has_is_run_again(tmp_path) -> None:
    plan = make_plan(adapting_study(), tmp_path)
    base, *adapted = plan.cells
    plan.add(put_cell(plan, base, bundle_hash="trained here"))
    for cell in adapted:
        plan.add(put_cell(plan, cell, base=base.hash, base_bundle="trained here"))
    assert make_plan(adapting_study(), tmp_path).results.keys() == {cell.hash for cell in plan.cells}
    assert plan.add(result(hash=base.hash, bundle_hash="trained elsewhere")) == adapted
    assert list(plan.results) == [base.hash] and [row.hash for row in read_table(plan.table)] == [base.hash]
    assert not any(plan.folder(cell).exists() for cell in adapted)
    assert plan.pending()[-len(adapted) :] == adapted
