import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_server.runtime.errors import ConfigurationError
from sim_bridge.study.cells import count_of, expand, make_cell, merged
from tests.sim_bridge.study.synthetic_study import study

CHOICE = {
    "task": "reach_cued",
    "context_length": 8,
    "demonstrations": "N",
    "method": "naive",
    "backbone": "unet_attention",
    "seed": 0,
}


def axes(cell):
    return cell.task, cell.context_length, cell.regime, cell.method, cell.seed


def test_the_axis_named_first_varies_slowest() -> None:
    grid = {"seed": [0, 1], "task": ["push_to_goal", "reach_cued"], "context_length": [8, 2]}
    found = [(cell.seed, cell.task, cell.context_length) for cell in expand(study(grids=[grid]))]
    assert found == list(itertools.product([0, 1], ["push_to_goal", "reach_cued"], [8, 2]))


def test_grids_follow_one_another_and_a_cell_of_two_grids_comes_once() -> None:
    first = {"task": ["reach_cued"], "context_length": [8]}
    second = {"task": ["reach_cued"], "context_length": [2, 8, 16]}
    assert [cell.context_length for cell in expand(study(grids=[first, second]))] == [8, 2, 16]


def test_a_cell_says_all_that_its_training_needs() -> None:
    cell = make_cell(study(), CHOICE | {"task": "push_to_goal", "demonstrations": "N/2", "method": "vht", "seed": 3})
    assert cell.training == {
        "features": True,
        "steps": 50,
        "model": {"unet": {"widths": [16, 32], "kernel": 5}, "backbone": "unet_attention"},
        "dataset": "data/push_to_goal",
        "episodes": 30,
        "seed": 3,
        "threads": 1,
        "context": {"length": 8, "stride_ticks": 2},
        "history": {"curriculum": "progressive"},
    }
    assert cell.demonstrations == 30 and cell.regime == "N/2"


def test_a_method_overrides_a_task_and_a_task_the_base() -> None:
    task = {"dataset": "d", "demonstrations": 9, "stride_ticks": 1, "overrides": {"optimizer": {"a": 2, "b": 2}}}
    config = study(
        base={"optimizer": {"a": 1, "b": 1, "c": 1}},
        tasks={"reach_cued": task},
        methods={"naive": {"training": {"optimizer": {"b": 3}}}},
        grids=[{"task": ["reach_cued"], "context_length": [8]}],
    )
    assert expand(config)[0].training["optimizer"] == {"a": 2, "b": 3, "c": 1}


def test_a_method_may_be_sampled_otherwise_and_trained_in_stages() -> None:
    methods = {"naive": {"candidates": 10, "replan_every_ticks": 1, "stages": {"finetune_steps": 5}}}
    cell = make_cell(study(methods=methods), CHOICE)
    assert (cell.evaluation.candidates, cell.evaluation.replan_every_ticks, cell.evaluation.episodes) == (10, 1, 4)
    assert cell.stages == {"finetune_steps": 5}


@pytest.mark.parametrize(
    "changes",
    [
        {"base": {"steps": 31}},
        {"evaluation": {"episodes": 5}},
        {"methods": {"naive": {"candidates": 4}}},
        {"methods": {"naive": {"stages": {"finetune_steps": 5}}}},
        {"tasks": {"reach_cued": {"dataset": "data/reach_cued", "demonstrations": 101, "stride_ticks": 4}}},
        {"tasks": {"reach_cued": {"dataset": "data/other", "demonstrations": 100, "stride_ticks": 4}}},
    ],
)
def test_whatever_decides_the_result_is_in_the_hash(changes) -> None:
    assert make_cell(study(**changes), CHOICE).hash != make_cell(study(), CHOICE).hash


def test_what_does_not_decide_the_result_is_not_in_the_hash() -> None:
    base = {"model": {"unet": {"kernel": 5, "widths": [16, 32]}}, "steps": 30, "checkpoint_every": 7, "features": True}
    assert make_cell(study(base=base, name="other", output="elsewhere"), CHOICE).hash == make_cell(study(), CHOICE).hash


def test_cells_have_names_of_their_own() -> None:
    grid = {
        "task": ["reach_cued"],
        "context_length": [2, 8],
        "demonstrations": ["N", "N/2"],
        "method": ["naive", "vht"],
    }
    cells = expand(study(grids=[grid | {"seed": [0, 1]}]))
    assert len({cell.id for cell in cells}) == len({cell.hash for cell in cells}) == 16
    assert cells[0].id.startswith("reach_cued-c2-d100-naive-unet_attention-s0-")


@pytest.mark.parametrize(("said", "count"), [("N", 100), ("N/2", 50), ("2N", 200), ("3N/4", 75), (37, 37), ("N/3", 33)])
def test_demonstrations_are_counts_or_shares_of_n(said, count) -> None:
    assert count_of(said, 100) == count


@pytest.mark.parametrize("said", ["N/0", "half", "0.5N", "", 0, "N/200"])
def test_other_shares_are_refused(said) -> None:
    with pytest.raises(ConfigurationError, match="demonstrations"):
        count_of(said, 100)


sections = st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner), max_leaves=8)
mappings = st.dictionaries(st.sampled_from("abc"), sections)


@given(mappings, mappings)
def test_merging_keeps_all_that_the_second_says_and_what_it_leaves_out(first, second) -> None:
    result = merged(first, second)
    assert merged(result, second) == result
    assert merged(first, {}) == first and merged({}, second) == second
    assert result.keys() == first.keys() | second.keys()
    assert all(result[key] == first[key] for key in first.keys() - second.keys())
