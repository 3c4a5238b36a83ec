import dataclasses
import warnings

import pytest

from sim_bridge.study.cell_run import Failure
from sim_bridge.study.comparisons import compare
from sim_bridge.study.configuration import ComparisonConfig, PlotConfig
from sim_bridge.study.plan import make_plan
from sim_bridge.study.plots import COLOURS, MARKERS, plot_differences, plot_success
from sim_bridge.study.report import MARKER, report_file, write_report
from sim_bridge.study.summary import lines
from tests.sim_bridge.study.synthetic_study import result, study

LONG_AGAINST_SHORT = {
    "name": "Long against short",
    "a": {"context_length": 8},
    "b": {"context_length": 2},
    "over": ["seed"],
}
PLOT = {"name": "contexts", "title": "Success over the context's length", "lines": ["method"]}


def config(**changes):
    grid = {"task": ["reach_cued", "push_to_goal"], "context_length": [2, 8], "seed": [0, 1]}
    return study(**{"grids": [grid], "comparisons": [LONG_AGAINST_SHORT], "plots": [PLOT]} | changes)


def plan_with_results(tmp_path, outcomes=None):
    """Long contexts succeed on reach_cued, short ones do by chance; on push_to_goal both do alike."""
    plan = make_plan(config(), tmp_path)
    for cell in plan.cells:
        remembers = cell.task == "push_to_goal" or cell.context_length == 8
        plan.add(
            result(
                hash=cell.hash,
                cell=cell.id,
                task=cell.task,
                context_length=cell.context_length,
                seed=cell.seed,
                outcomes="1" * 9 + "0" if remembers else "1000010010",
                completed="" if cell.task == "push_to_goal" else "1" * 9 + "0",
            )
        )
    return plan


def test_the_report_states_rates_with_intervals_pooled_over_seeds(tmp_path) -> None:
    text = write_report(plan_with_results(tmp_path), "trial.yaml").read_text()
    assert text.startswith("# A trial\n") and "8 of 8 cells" in text
    assert "| N = 100 | naive | unet_attention | 0, 1 | **30** (15 to 52) | **90** (70 to 97) |" in text
    assert "Memory: seconds; chance 33%." in text


def test_contextual_success_is_stated_where_a_task_tells_completion(tmp_path) -> None:
    text = write_report(plan_with_results(tmp_path), "trial.yaml").read_text()
    reach, push = text.split("## push_to_goal")
    assert "Contextual success" in reach and "Contextual success" not in push
    assert "| N = 100 | naive | unet_attention | 0, 1 | **33** (16 to 56) | **100** (82 to 100) |" in reach


def test_comparisons_are_tested_in_pairs(tmp_path) -> None:
    text = write_report(plan_with_results(tmp_path), "trial.yaml").read_text()
    assert "### Long against short" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| reach_cued, N, naive")]
    assert "| 20 | 90.0 % | 30.0 % | +60.0 |" in row and "| 12 | 0 | 0.0005 |" in row


def test_plots_are_drawn_and_shown(tmp_path) -> None:
    plan = plan_with_results(tmp_path)
    text = write_report(plan, "trial.yaml").read_text()
    for name in ("trial_contexts.png", "trial_differences.png"):
        assert f"({name})" in text and (plan.table.parent / name).stat().st_size > 10_000


def test_what_was_written_by_hand_stays_above_the_marker(tmp_path) -> None:
    plan = plan_with_results(tmp_path)
    file = write_report(plan, "trial.yaml")
    file.write_text(file.read_text().replace("# A trial\n", "# A trial\n\nMemory pays.\n"))
    again = write_report(plan, "trial.yaml").read_text()
    assert again.startswith("# A trial\n\nMemory pays.\n") and again.count(MARKER) == 1
    assert write_report(plan, "trial.yaml").read_text() == again


def test_missing_failed_and_foreign_cells_are_named(tmp_path) -> None:
    plan = plan_with_results(tmp_path)
    gone = plan.cells[3]
    del plan.results[gone.hash]
    plan.add(Failure(gone.id, gone.hash, "export", "no room left"))
    plan.strangers.append(result(hash="other"))
    text = write_report(plan, "trial.yaml").read_text()
    assert f"Without a result: 1 cell: `{gone.id}`." in text
    assert f"- `{gone.id}` failed in export: no room left" in text
    assert "Left out here: 1 row of the table, of an earlier configuration." in text


def test_a_study_without_results_says_so(tmp_path) -> None:
    file = write_report(make_plan(config(), tmp_path), "trial.yaml")
    assert file == report_file(make_plan(config(), tmp_path)) and "0 of 8 cells" in file.read_text()


def test_the_report_can_be_made_from_the_table_alone(tmp_path) -> None:
    plan = plan_with_results(tmp_path)
    text = write_report(plan, "trial.yaml").read_text()
    assert not (tmp_path / "runs").exists()
    plan.table.with_suffix(".parquet").unlink()
    assert write_report(make_plan(config(), tmp_path), "trial.yaml").read_text() == text
    assert plan.table.with_suffix(".parquet").exists()


def test_points_are_in_the_order_of_context_lengths_and_pool_seeds() -> None:
    table = [result(context_length=length, seed=seed) for length in (16, 2, 8) for seed in (0, 1)]
    ((key, points),) = lines(table, ["method"]).items()
    assert key == ("naive",) and [point.context_length for point in points] == [2, 8, 16]
    assert all(point.seeds == (0, 1) and point.success.episodes == 8 for point in points)


def test_a_plot_of_many_lines_tells_them_apart(tmp_path) -> None:
    table = [
        result(context_length=length, method=method, outcomes=("1" * length + "0" * 16)[:16])
        for length in (2, 4, 8, 16)
        for method in "abcdefgh"
    ]
    assert plot_success(PlotConfig("p", "Many", ("method",)), table, tmp_path / "many.png")
    assert len(set(COLOURS)) == len(set(MARKERS)) == 7


def test_nothing_is_drawn_of_nothing(tmp_path) -> None:
    assert not plot_success(PlotConfig("p", "t", ("method",), {"method": "ptp"}), [result()], tmp_path / "p.png")
    assert not plot_differences([], tmp_path / "d.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [1, 30])
def test_differences_are_drawn_however_many_there_are(tmp_path, count: int) -> None:
    table = [result(context_length=length, seed=seed) for length in (2, 8) for seed in range(count)]
    comparison = ComparisonConfig("c", {"context_length": 8}, {"context_length": 2}, over=())
    rows = compare(comparison, [dataclasses.replace(row, outcomes="1" * row.context_length) for row in table])
    assert rows == []  # of another number of episodes
    rows = compare(comparison, table)
    with warnings.catch_warnings():
        # A label that is too long leaves no room for the axes, of which matplotlib only warns.
        warnings.simplefilter("error")
        assert plot_differences([("a comparison over five tasks, " * 6, row) for row in rows], tmp_path / "d.png")
    assert len(rows) == count
