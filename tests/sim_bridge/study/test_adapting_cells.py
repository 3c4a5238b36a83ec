"""Cells that start from another cell's policy: what they are, when they run, and what is kept of them."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from policy_server.runtime.command import EXIT_ERROR
from policy_server.runtime.configuration import to_plain
from policy_server.runtime.errors import ConfigurationError
from sim_bridge.shift import ShiftError
from sim_bridge.study import __main__ as command
from sim_bridge.study.cell_run import stages_of
from sim_bridge.study.cells import expand, make_cell
from sim_bridge.study.configuration import load_study
from sim_bridge.study.datasets import Source, missing_demonstrations
from sim_bridge.study.engine import LocalEngine
from sim_bridge.study.estimate import estimate_s
from sim_bridge.study.plan import Plan, make_plan
from sim_bridge.study.progress import Display
from sim_bridge.study.run import RunLimits, run_cells
from sim_bridge.study.table import read_table, write_table
from tests.sim_bridge.study.adapting_study import GRID, METHODS, adapting_study
from tests.sim_bridge.study.fake_commands import COMMANDS_FILE
from tests.sim_bridge.study.synthetic_study import fake_commands, result, study

CHOICE = {"task": "reach_cued", "context_length": 8, "shift": "low_table", "demonstrations": 10}


def run(plan: Plan, **limits: Any) -> list[Any]:
    with Display() as display:
        return run_cells(plan, LocalEngine(2, 0), RunLimits(**limits), display)


def test_the_policy_that_is_adapted_comes_once_and_before_those_that_adapt_it() -> None:
    cells = expand(adapting_study())
    assert [(cell.method, cell.shift.name, cell.demonstrations) for cell in cells] == [
        ("base", "", 100),
        ("lora_4", "low_table", 5),
        ("lora_4", "low_table", 10),
    ]
    assert cells[1].base == cells[2].base == cells[0]


def test_every_training_seed_adapts_a_base_and_has_demonstrations_of_its_own(tmp_path: Path) -> None:
    cells = expand(adapting_study(grids=[GRID | {"seed": [0, 1]}]))
    assert [cell.seed for cell in cells if cell.base is None] == [0, 1]
    sources = missing_demonstrations(cells, tmp_path)
    shifted = [source for source in sources if source.shift]
    assert sources[Source("reach_cued", tmp_path / "data/reach_cued")] == 100
    assert [(source.dataset.name, sources[source]) for source in shifted] == [
        ("reach_cued_low_table_s0", 10),
        ("reach_cued_low_table_s1", 10),
    ]
    assert len({source.first_seed for source in shifted}) == 2


def test_a_base_that_is_only_run_needs_no_demonstrations_and_is_one_cell(tmp_path: Path) -> None:
    cells = expand(adapting_study(grids=[GRID | {"method": ["unadapted"]}]))
    assert [cell.method for cell in cells] == ["base", "unadapted"]
    assert list(missing_demonstrations(cells, tmp_path)) == [Source("reach_cued", tmp_path / "data/reach_cued")]
    assert cells[1].demonstrations == 0 and stages_of(cells[1]) == ("evaluate",)


@pytest.mark.parametrize(
    "changes",
    [
        {"shift": "high_table"},
        {"shift": ""},
        {"demonstrations": 20},
        {"method": "full"},
        {"seed": 1},
        {"context_length": 2},
    ],
)
def test_everything_that_decides_the_result_is_in_the_hash(changes: dict[str, Any]) -> None:
    config = adapting_study()
    cell = make_cell(config, CHOICE | {"method": "lora_4"})
    assert make_cell(config, CHOICE | {"method": "lora_4"} | changes).hash != cell.hash


def test_what_a_shift_changes_is_in_the_hash_and_not_only_its_name() -> None:
    cell = make_cell(adapting_study(), CHOICE | {"method": "lora_4"})
    deeper = dataclasses.replace(cell, shift=dataclasses.replace(cell.shift, table_m=-0.1))
    assert deeper.hash != cell.hash and deeper.shift.name == cell.shift.name


def test_another_base_makes_another_cell() -> None:
    hashes = {
        make_cell(adapting_study(base=base), CHOICE | {"method": "unadapted"}).hash
        for base in ({"features": True, "steps": 30}, {"features": True, "steps": 31})
    }
    assert len(hashes) == 2


def test_cells_without_a_shift_have_the_hash_that_committed_tables_know() -> None:
    cell = make_cell(study(), {"task": "reach_cued", "context_length": 8, "method": "naive"})
    assert cell.hash == "68a8b57d4ee0"


@pytest.mark.parametrize(
    ("methods", "grid", "error", "words"),
    [
        ({"odd": {"finetune": {"method": "full"}}}, {}, ConfigurationError, "finetune goes with adapts"),
        ({"odd": {"adapts": "bse"}}, {}, ConfigurationError, "did you mean 'base'"),
        ({"odd": {"adapts": "full"}}, {}, ConfigurationError, "adapts another itself"),
        ({"odd": {"adapts": "base", "training": {"steps": 3}}}, {}, ConfigurationError, "say under finetune"),
        ({"odd": {"adapts": "base", "finetune": {"seed": 3}}}, {}, ConfigurationError, "finetune.seed"),
        ({}, {"shift": ["low_tabel"]}, ShiftError, "did you mean 'low_table'"),
        ({}, {"shift": ["swapped_signals"]}, ShiftError, "changes nothing of task 'reach_cued'"),
    ],
)
def test_what_cannot_be_adapted_is_refused_when_the_study_is_read(
    tmp_path: Path, methods: dict[str, Any], grid: dict[str, Any], error: type[Exception], words: str
) -> None:
    values = to_plain(adapting_study(methods=METHODS | methods, grids=[GRID | grid]))
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(error, match=words):
        load_study(file)


def test_an_adapted_policy_costs_two_evaluations_and_an_unadapted_one_no_training() -> None:
    config = adapting_study()
    measured = [result(step_s=1.0, steps=10, train_s=10.0, export_s=5.0, evaluate_s=8.0, outcomes="1111")]
    base, adapted, as_it_is = (
        make_cell(config, CHOICE | changes)
        for changes in (
            {"method": "base", "shift": "", "demonstrations": "N"},
            {"method": "lora_4"},
            {"method": "unadapted"},
        )
    )
    assert [estimate_s(cell, measured) for cell in (base, adapted, as_it_is)] == [30 + 5 + 8, 30 + 5 + 16, 8]


def test_adapted_cells_wait_for_their_base_start_from_it_and_are_run_in_both_worlds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_commands(monkeypatch, tmp_path)
    plan = make_plan(
        adapting_study(grids=[GRID | {"demonstrations": [5], "method": ["lora_4", "unadapted"]}]), tmp_path
    )
    base, adapted, as_it_is = plan.cells
    assert [plan.is_ready(cell) for cell in plan.cells] == [True, False, False]
    assert run(plan) == []
    assert (plan.folder(adapted) / COMMANDS_FILE).read_text().split() == ["train", "export", "evaluate", "evaluate"]
    assert (plan.folder(as_it_is) / COMMANDS_FILE).read_text().split() == ["evaluate"]
    asked = yaml.safe_load((plan.folder(adapted) / "training.yaml").read_text())
    assert asked == {
        "base": str(plan.folder(base) / "train"),
        "output": str(plan.folder(adapted) / "train"),
        "dataset": "data/shifted/reach_cued_low_table_s0",
        "demonstrations": 5,
        "seed": 0,
        "method": "lora",
        "lora": {"rank": 4},
        "training": {"steps": 30},
    }
    rows = {row.method: row for row in read_table(plan.table)}
    assert (rows["lora_4"].outcomes, rows["lora_4"].as_built) == ("1000", "1010")
    assert (rows["unadapted"].outcomes, rows["unadapted"].as_built, rows["base"].outcomes) == ("1000", "", "1010")
    assert rows["lora_4"].trained_fraction == 0.25 and rows["lora_4"].base == base.hash
    assert (plan.folder(base) / "bundle").exists() and not (plan.folder(adapted) / "bundle").exists()


def test_a_base_whose_policy_is_gone_is_run_again_for_those_that_still_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_commands(monkeypatch, tmp_path)
    config = adapting_study(grids=[GRID | {"demonstrations": [5], "method": ["unadapted"]}])
    plan = make_plan(config, tmp_path)
    base, as_it_is = plan.cells
    write_table(plan.table, [result(hash=base.hash, cell=base.id, outcomes="0000")])
    again = make_plan(config, tmp_path)
    assert base.hash in again.results and again.pending() == [base, as_it_is]
    assert again.pending("unadapted") == [base, as_it_is]
    assert run(again) == [] and again.pending() == []
    assert again.results[base.hash].outcomes == "1010"


def test_cells_are_left_when_the_policy_that_they_adapt_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_commands(monkeypatch, tmp_path)
    config = adapting_study(base={"features": True, "steps": 30, "fake": {"fail": "train"}})
    plan = make_plan(config, tmp_path)
    left = run(plan)
    assert [cell.method for cell in left] == ["lora_4", "lora_4"] and list(plan.failures) == [plan.cells[0].hash]
    assert json.loads((plan.folder(plan.cells[0]) / "cell.json").read_text())["status"] == "failed"


def test_a_failed_base_is_named_with_its_error_though_it_was_not_chosen_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    fake_commands(monkeypatch, tmp_path)
    config = adapting_study(base={"features": True, "steps": 30, "fake": {"fail": "train"}})
    Path("study.yaml").write_text(yaml.safe_dump(to_plain(config)))
    base = make_plan(config, tmp_path).cells[0]
    for arguments in (["--only", "*lora*"], ["--only", "*lora*", "--retry-failed"], ["--only", "*lora*"]):
        monkeypatch.setattr(sys, "argv", ["study", "study.yaml", "--workers", "1", "--gpus", "0", *arguments])
        assert command.main() == EXIT_ERROR
        assert f"failed: {base.id}: train: the fault was asked for" in capsys.readouterr().out
    assert (tmp_path / config.output / base.id / COMMANDS_FILE).read_text().split() == ["train", "train"]
