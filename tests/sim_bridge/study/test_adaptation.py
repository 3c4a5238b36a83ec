"""What the report says of adapted policies: gained under the shift, lost on the task as it is built."""

import csv
import dataclasses
from pathlib import Path

import pytest

from sim_bridge.study.adaptation import ShiftedWorld, shifted_worlds
from sim_bridge.study.adaptation_plot import plot_adaptation
from sim_bridge.study.adaptation_report import adaptation_sections
from sim_bridge.study.comparisons import compare, is_paired
from sim_bridge.study.configuration import ComparisonConfig
from sim_bridge.study.plan import Plan, make_plan
from sim_bridge.study.report import write_report
from sim_bridge.study.table import read_table, write_table
from tests.sim_bridge.study.adapting_study import GRID, adapting_study
from tests.sim_bridge.study.synthetic_study import result

FORGETTING = {
    "name": "LoRA against full, what is left",
    "a": {"method": "lora_4"},
    "b": {"method": "full"},
    "over": ["seed"],
    "measure": "as_built",
}
# Method -> outcomes under the shift, on the task as it is built, share of parameters trained.
CAME_TO = {
    "base": ("1111111110", "", 1.0),
    "unadapted": ("1000000000", "", 0.0),
    "lora_4": ("1111111100", "1111111100", 0.05),
    "full": ("1111111110", "1110000000", 1.0),
}


def plan_with_results(folder: Path) -> Plan:
    grid = GRID | {"method": list(CAME_TO)[1:], "seed": [0, 1]}
    plan = make_plan(adapting_study(grids=[grid], comparisons=[FORGETTING]), folder)
    for cell in plan.cells:
        outcomes, as_built, fraction = CAME_TO[cell.method]
        found = result(
            hash=cell.hash, cell=cell.id, method=cell.method, seed=cell.seed, demonstrations=cell.demonstrations,
            regime=cell.regime, shift=cell.shift.name, base=cell.base.hash if cell.base else "", outcomes=outcomes,
            completed="", as_built=as_built, trained_fraction=fraction,
        )  # fmt: skip
        plan.add(dataclasses.replace(found, base_bundle=found.bundle_hash if cell.base else ""))
    return plan


def world_of(plan: Plan) -> ShiftedWorld:
    (world,) = shifted_worlds(plan.ordered_results)
    return world


def test_rows_are_pooled_over_seeds_and_kept_apart_by_method_and_demonstrations(tmp_path: Path) -> None:
    world = world_of(plan_with_results(tmp_path))
    found = {(row.method, row.demonstrations): row for row in world.rows}
    assert set(found) == {("unadapted", 0), *((method, count) for method in ("lora_4", "full") for count in (5, 10))}
    row = found["lora_4", 10]
    assert row.seeds == (0, 1) and (row.success.successes, row.success.episodes) == (16, 20)
    assert world.base is not None and (world.base.successes, world.base.episodes) == (18, 20)
    assert world.unadapted is not None and world.unadapted.successes == 2


def test_what_is_forgotten_is_measured_on_the_bases_own_episodes(tmp_path: Path) -> None:
    found = {(row.method, row.demonstrations): row for row in world_of(plan_with_results(tmp_path)).rows}
    assert found["unadapted", 0].change is None
    kept, lost = found["lora_4", 10].change, found["full", 10].change
    assert kept is not None and lost is not None
    assert kept.difference == pytest.approx(-0.1) and lost.difference == pytest.approx(-0.6)
    assert (lost.only_a, lost.only_b) == (0, 12) and lost.p < 0.001


def test_without_the_base_in_the_table_no_change_is_stated(tmp_path: Path) -> None:
    results = [row for row in plan_with_results(tmp_path).ordered_results if row.method != "base"]
    (world,) = shifted_worlds(results)
    assert world.base is None and all(row.base is None and row.change is None for row in world.rows)


def test_what_is_left_is_a_share_of_the_same_seeds_bases(tmp_path: Path) -> None:
    plan = plan_with_results(tmp_path)
    for cell in plan.cells:
        row = plan.results[cell.hash]
        if cell.method == "base" and cell.seed == 1:
            plan.results[cell.hash] = dataclasses.replace(row, outcomes="1000000000")
        if cell.method == "full" and cell.seed == 1:
            del plan.results[cell.hash]
    world = world_of(plan)
    rows = {(row.method, row.demonstrations): row for row in world.rows}
    own, both = rows["full", 10].base, rows["lora_4", 10].base
    assert own is not None and (own.successes, own.episodes) == (9, 10)
    assert both is not None and both == world.base and (both.successes, both.episodes) == (10, 20)
    (line,) = [line for line in adaptation_sections([world], None) if line.startswith("| full | 10 ")]
    assert line.startswith("| full | 10 | 0 | 100 % | **90** (60 to 98) | 100% |")


def test_the_report_has_a_table_per_shift_and_keeps_it_out_of_the_others(tmp_path: Path) -> None:
    text = write_report(plan_with_results(tmp_path), "trial.yaml").read_text()
    assert "### reach_cued, low_table" in text and "The table is 6 cm lower." in text
    (row,) = [line for line in text.splitlines() if line.startswith("| lora_4 | 10 ")]
    assert row.startswith("| lora_4 | 10 | 0, 1 | 5 % | **80** (58 to 92) | 89% | **80** (58 to 92) | -10 (")
    (as_it_is,) = [line for line in text.splitlines() if line.startswith("| unadapted ")]
    assert as_it_is.startswith("| unadapted | - | 0, 1 | - | **10** (3 to 30) | 11% | - | - | - |")
    assert "| N = 100 | base | unet_attention | 0, 1 | **90** (70 to 97) |" in text
    assert "| lora_4 |" not in text.split("## Adapted to shifts")[0]


def test_a_policy_that_was_trained_under_a_shift_is_in_a_table_of_its_own(tmp_path: Path) -> None:
    grids = [{"task": ["reach_cued"], "shift": ["", "low_table"], "context_length": [8], "method": ["base"]}]
    plan = make_plan(adapting_study(grids=grids), tmp_path)
    for cell in plan.cells:
        outcomes = "1110000000" if cell.shift.name else "1111111110"
        plan.add(result(hash=cell.hash, method="base", shift=cell.shift.name, outcomes=outcomes, completed=""))
    as_built, shifted = write_report(plan, "trial.yaml").read_text().split("## reach_cued, trained under low_table")
    assert "| N = 100 | base | unet_attention | 0 | **90** (60 to 98) |" in as_built
    assert "The table is 6 cm lower." in shifted and "trained under" not in as_built
    assert "| N = 100 | base | unet_attention | 0 | **30** (11 to 60) |" in shifted


def test_methods_are_compared_on_what_they_have_not_forgotten(tmp_path: Path) -> None:
    plan = plan_with_results(tmp_path)
    text = write_report(plan, "trial.yaml").read_text()
    (row,) = [line for line in text.splitlines() if line.startswith("| reach_cued, low_table, context 8, 10,")]
    assert "| 20 | 80.0 % | 30.0 % | +50.0 |" in row and "On the task as it is built" in text
    under_shift = ComparisonConfig("c", {"method": "lora_4"}, {"method": "full"})
    assert [each.difference.difference for each in compare(under_shift, plan.ordered_results)] == [-0.1, -0.1]


def test_episodes_under_a_shift_are_no_pair_of_those_without_it() -> None:
    built, shifted = result(), result(shift="low_table", as_built="0101")
    assert not is_paired(built, shifted) and is_paired(built, shifted, "as_built")
    assert not is_paired(built, result(shift="low_table"), "as_built")


def test_the_plot_has_a_column_for_each_shifted_world(tmp_path: Path) -> None:
    plan = plan_with_results(tmp_path)
    write_report(plan, "trial.yaml")
    file = plan.table.parent / "trial_adaptation.png"
    assert file.stat().st_size > 10_000
    one = world_of(plan)
    assert not plot_adaptation([], tmp_path / "none.png")
    assert plot_adaptation([one, one], tmp_path / "two.png")
    assert (tmp_path / "two.png").stat().st_size > file.stat().st_size


def test_a_table_written_before_there_were_shifts_is_still_read(tmp_path: Path) -> None:
    file = tmp_path / "old.csv"
    write_table(file, [result()])
    with file.open(newline="", encoding="utf-8") as stream:
        names, *rows = csv.reader(stream)
    kept = [i for i, name in enumerate(names) if name not in ("shift", "base", "trained_fraction", "as_built")]
    assert len(names) - len(kept) == 4
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([[row[i] for i in kept] for row in (names, *rows)])
    assert read_table(file) == [result()]
