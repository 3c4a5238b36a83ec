import pytest

from sim_bridge.study.cells import make_cell
from sim_bridge.study.estimate import estimate_s
from tests.sim_bridge.study.synthetic_study import result, study
from tests.sim_bridge.study.test_cells import CHOICE


def cell(**changes):
    return make_cell(study(), CHOICE | changes)


def test_nothing_is_known_before_anything_was_measured() -> None:
    assert estimate_s(cell(), []) is None


def test_a_cell_like_a_measured_one_takes_as_long_by_its_own_steps_and_episodes() -> None:
    measured = result(steps=1000, step_s=0.1, train_s=105.0, export_s=8.0, evaluate_s=12.0, outcomes="11")
    assert estimate_s(cell(), [measured]) == pytest.approx(5 + 30 * 0.1 + 8 + 4 * 6)


def test_the_nearest_context_of_the_same_backbone_sets_the_pace_of_training() -> None:
    measured = [
        result(context_length=4, step_s=1.0, train_s=1000.0),
        result(context_length=64, step_s=9.0, train_s=9000.0),
        result(context_length=8, backbone="transformer", step_s=50.0, train_s=50_000.0),
    ]
    assert estimate_s(cell(), measured) == pytest.approx(30 * 1.0 + 8 + 4 * 3)


def test_the_same_task_sets_the_pace_of_evaluation() -> None:
    measured = [result(task="push_to_goal", evaluate_s=400.0), result(method="vht", step_s=0.999)]
    assert estimate_s(cell(task="push_to_goal"), measured) == pytest.approx(50 * 0.1 + 8 + 4 * 100)


def test_equally_near_cells_count_by_their_median() -> None:
    measured = [result(seed=seed, step_s=seconds, train_s=seconds) for seed, seconds in enumerate((0.1, 0.2, 9.0))]
    assert estimate_s(cell(), measured) == pytest.approx(30 * 0.2 + 8 + 4 * 3)
