import math
from pathlib import Path

import pytest

from policy_server.comparison.pairs import compare_pairs
from policy_server.comparison.runs import Run, Runs
from tests.policy_server.comparison.small_comparison import finish, small_comparison


def runs(folder: Path, losses: dict[str, list[float]]) -> list[Run]:
    """Done runs, with these validation losses per seed."""
    made = Runs(small_comparison(folder, seeds=(0, 1, 2))).compared(
        dict.fromkeys([("unet", name) for name in losses], 0.1)
    )
    kept = [run for run in made if run.seed < len(losses[run.contestant])]
    for run in kept:
        finish(run, losses[run.contestant][run.seed], final_loss=2.0)
    return kept


def test_seeds_that_are_hard_for_both_cancel(tmp_path: Path) -> None:
    done = runs(tmp_path, {"adamw": [1.0, 4.0, 0.5], "recipe": [0.9, 3.6, 0.45]})
    (pair,) = compare_pairs(done, [("recipe", "adamw")], 0.95)
    assert (pair.seeds, pair.validation, pair.training) == (3, pytest.approx(0.9), pytest.approx(1.0))
    assert pair.validation_low == pytest.approx(0.9) and pair.validation_high == pytest.approx(0.9)
    assert pair.verdict == "recipe is better"


def test_an_interval_that_holds_one_shows_nothing(tmp_path: Path) -> None:
    done = runs(tmp_path, {"adamw": [1.0, 1.0, 1.0], "recipe": [0.9, 1.05, 0.97]})
    (pair,) = compare_pairs(done, [("recipe", "adamw")], 0.95)
    assert pair.validation_low < 1 < pair.validation_high and pair.verdict == "no difference shown"
    (turned,) = compare_pairs(done, [("adamw", "recipe")], 0.95)
    assert turned.validation_high == pytest.approx(1 / pair.validation_low)


def test_only_seeds_that_both_have_are_paired(tmp_path: Path) -> None:
    done = runs(tmp_path, {"adamw": [1.0, 1.0, 9.0], "recipe": [2.0]})
    (pair,) = compare_pairs(done, [("recipe", "adamw")], 0.95)
    assert (pair.seeds, pair.validation) == (1, pytest.approx(2.0))
    assert pair.validation_high == math.inf and pair.validation_low == 0.0
    assert compare_pairs(done, [("recipe", "torch_muon")], 0.95) == []
