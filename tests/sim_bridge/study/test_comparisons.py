import pytest

from sim_bridge.study.comparisons import compare
from sim_bridge.study.configuration import ComparisonConfig
from tests.sim_bridge.study.synthetic_study import result

NAIVE, VHT = {"method": "naive"}, {"method": "vht"}


def results(outcomes, **fixed):
    """One result per (method, task, context length, seed) with these outcomes."""
    return [
        result(method=method, task=task, context_length=length, seed=seed, outcomes=said, **fixed)
        for (method, task, length, seed), said in outcomes.items()
    ]


def test_cells_that_agree_in_all_else_are_paired() -> None:
    found = compare(
        ComparisonConfig("c", VHT, NAIVE),
        results(
            {
                ("vht", "reach_cued", 8, 0): "1111",
                ("naive", "reach_cued", 8, 0): "1000",
                ("naive", "reach_cued", 2, 0): "0000",
                ("vht", "press_count", 8, 0): "0000",
            }
        ),
    )
    assert len(found) == 1
    assert found[0].shared["task"] == "reach_cued" and found[0].shared["context_length"] == 8
    assert (found[0].difference.only_a, found[0].difference.only_b) == (3, 0)


def test_every_combination_of_the_other_axes_is_a_row_and_over_pools_them() -> None:
    table = results(
        {
            (method, task, length, seed): said
            for method, said in (("vht", "1110"), ("naive", "1000"))
            for task in ("reach_cued", "press_count")
            for length in (8, 16)
            for seed in (0, 1)
        }
    )
    by_task = compare(ComparisonConfig("c", VHT, NAIVE), table)
    assert len(by_task) == 4 and all(row.difference.pairs == 8 and row.seeds == (0, 1) for row in by_task)
    pooled = compare(ComparisonConfig("c", VHT, NAIVE, over=("seed", "task")), table)
    assert [row.shared["context_length"] for row in pooled] == [8, 16]
    assert all(row.difference.pairs == 16 and row.tasks == ("reach_cued", "press_count") for row in pooled)


def test_several_axes_may_differ_between_the_sides() -> None:
    table = results({("vht", "reach_cued", 16, 0): "1111", ("naive", "reach_cued", 2, 0): "0000"})
    config = ComparisonConfig("c", VHT | {"context_length": 16}, NAIVE | {"context_length": 2})
    (row,) = compare(config, table)
    assert row.difference.difference == 1.0 and "context_length" not in row.shared


def test_where_restricts_both_sides() -> None:
    table = results({(m, t, 8, 0): "1100" for m in ("vht", "naive") for t in ("reach_cued", "press_count")})
    table += results({(m, "reach_cued", 8, 0): "1111" for m in ("vht", "naive")}, regime="N/2", demonstrations=50)
    config = ComparisonConfig("c", VHT, NAIVE, where={"task": ["reach_cued"], "demonstrations": "N/2"})
    (row,) = compare(config, table)
    assert row.difference.successes_a == 4 and row.shared["task"] == "reach_cued"


@pytest.mark.parametrize("other", [{"evaluation_seed": 50}, {"outcomes": "10100"}])
def test_results_of_other_episodes_are_no_pairs(other) -> None:
    table = [result(method="vht"), result(method="naive", **other)]
    assert compare(ComparisonConfig("c", VHT, NAIVE), table) == []
