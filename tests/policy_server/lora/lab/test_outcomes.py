"""Which start is kept, and how many steps it took, on planted logs."""

from pathlib import Path

import numpy as np
import pytest

from policy_server.lora.lab.cells import make_groups
from policy_server.lora.lab.outcomes import Outcome, outcomes
from policy_server.lora.lab.simulation import NEVER, GroupResult
from tests.policy_server.lora.lab.small_lab import cells_of, small_config

STEPS = np.array([100, 200, 300, 400])


def planted(tmp_path: Path, late_losses: tuple[float, float], reached: tuple[int, int]) -> Outcome:
    """One instance from u₀ and from -u₀."""
    (group,) = make_groups(small_config(tmp_path), cells_of())
    overlap = np.array([[[0.0], [0.0]], [[0.2], [-0.2]], [[0.5], [-0.5]], [[0.96], [-0.97]]], np.float32)
    loss = np.ones((4, 2, 1), np.float32)
    loss[3, :, 0] = late_losses
    result = GroupResult(
        group, STEPS, overlap, loss, np.array(reached)[:, None], np.array([400, 400]), np.array([[0.96], [-0.97]])
    )
    (found,) = outcomes(result)
    return found


def test_the_first_start_is_kept_unless_the_other_is_clearly_better(tmp_path: Path) -> None:
    found = planted(tmp_path, (0.50, 0.49), (400, 300))
    assert not found.restarted[0] and found.steps[0] == 400 and found.overlap[0] > 0


def test_the_clearly_lower_loss_is_kept(tmp_path: Path) -> None:
    found = planted(tmp_path, (0.5, 0.3), (NEVER, 300))
    assert found.restarted[0] and found.steps[0] == 300 and found.overlap[0] < 0
    assert found.first_steps[0] == np.inf
    assert (found.first_loss[0], found.last_loss[0]) == pytest.approx((1.0, 0.3))


def test_an_instance_that_never_arrived_counts_as_infinite(tmp_path: Path) -> None:
    found = planted(tmp_path, (0.5, 0.5), (NEVER, 300))
    assert found.steps[0] == np.inf and found.median_steps == np.inf and found.reached == 0


def test_a_plateau_ends_at_a_tenth(tmp_path: Path) -> None:
    assert planted(tmp_path, (0.5, 0.5), (400, 400)).escape_steps[0] == 300


def test_a_loss_level_is_reached_where_the_log_says_so(tmp_path: Path) -> None:
    found = planted(tmp_path, (0.5, 0.5), (400, 400))
    assert [found.steps_to_loss(level)[0] for level in (1.0, 0.5, 0.4)] == [100, 400, np.inf]
