"""Groups: the same curve whether unbroken, stopped or killed; cells that have arrived end early."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policy_server.lora.lab.cells import Group, make_groups
from policy_server.lora.lab.configuration import LabConfig
from policy_server.lora.lab.simulation import (
    CHECKPOINT_FILE,
    NEVER,
    RESULT_FILE,
    GroupResult,
    GroupRun,
    log_blocks,
    make_dynamics,
    read_result,
    run_group,
    runs_of,
)
from policy_server.runtime.errors import ConfigurationError
from tests.policy_server.lora.lab.small_lab import cells_of, small_config

STUDENTS: list[dict[str, Any]] = [
    {},
    {"student": "joint"},
    {"student": "linearised_joint"},
    {"method": "plain"},
    {"rows": "separated", "coefficients": "spherical"},
    {"student": "correlational", "dimensions": (20, 30)},
    {"student": "scratch", "scales": (0.1, 0.3)},
]


def only_group(config: LabConfig, **values: Any) -> Group:
    (group,) = make_groups(config, cells_of(**values))
    return group


def run_whole(group: Group, config: LabConfig, folder: Path) -> GroupResult:
    assert run_group(group, config, folder, lambda steps: None, lambda: False)
    result = read_result(group, folder)
    assert result is not None
    return result


def assert_same(one: GroupResult, other: GroupResult) -> None:
    for name in ("steps", "overlap", "loss", "reached", "ended", "final"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("values", STUDENTS, ids=str)
def test_a_killed_run_goes_on_with_the_same_curve(tmp_path: Path, values: dict[str, Any]) -> None:
    config = small_config(tmp_path, block_steps=20)
    group = only_group(config, **{"scales": (0.3, 0.6), "horizon": 2.0, "max_steps": 400, **values})
    unbroken = run_whole(group, config, tmp_path / "unbroken")
    for _ in range(2):  # a kill loses what came after the checkpoint
        killed = GroupRun(group, config, tmp_path / "killed")
        for step in range(4):
            killed.advance()
            if step == 2:
                killed.save()
    assert_same(run_whole(group, config, tmp_path / "killed"), unbroken)
    assert not (tmp_path / "killed" / CHECKPOINT_FILE).exists()


def test_a_stopped_run_saves_itself_and_goes_on(tmp_path: Path) -> None:
    config = small_config(tmp_path, block_steps=20)
    group = only_group(config)
    calls = iter([False, False, True])
    assert not run_group(group, config, tmp_path / "stopped", lambda steps: None, lambda: next(calls))
    assert GroupRun(group, config, tmp_path / "stopped").steps_done == 60
    assert_same(run_whole(group, config, tmp_path / "stopped"), run_whole(group, config, tmp_path / "unbroken"))


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    config = small_config(tmp_path, block_steps=20)
    group = only_group(config, max_steps=40)
    run_whole(group, config, tmp_path)
    before = (tmp_path / RESULT_FILE).stat().st_mtime_ns
    run_whole(group, config, tmp_path)
    assert (tmp_path / RESULT_FILE).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("both", "second"),
    [
        ({"dimensions": (30, 60)}, {"dimensions": (60,)}),
        ({"strengths": (1.0, 2.0)}, {"strengths": (2.0,)}),
        ({"scales": (0.6, 0.2), "student": "joint"}, {"scales": (0.2,), "student": "joint"}),
    ],
    ids=str,
)
def test_a_cell_runs_alike_alone_and_beside_others(
    tmp_path: Path, both: dict[str, Any], second: dict[str, Any]
) -> None:
    """Dropping a cell that has ended, or another one beside it, changes nothing for the rest."""
    config = small_config(tmp_path, block_steps=20)
    together = run_whole(only_group(config, **both, horizon=2.0, ends_early=False), config, tmp_path / "together")
    alone = run_whole(only_group(config, **second, horizon=2.0, ends_early=False), config, tmp_path / "alone")
    np.testing.assert_allclose(together.final[2:], alone.final, rtol=1e-6)
    np.testing.assert_array_equal(together.reached[2:], alone.reached)


def test_more_instances_leave_the_first_ones_as_they_are(tmp_path: Path) -> None:
    few, many = small_config(tmp_path, instances=2), small_config(tmp_path, instances=5)
    one = run_whole(only_group(few, max_steps=300), few, tmp_path / "few")
    other = run_whole(only_group(many, max_steps=300), many, tmp_path / "many")
    np.testing.assert_allclose(other.final[:, :2], one.final)


def test_a_cell_ends_a_fifth_after_all_have_arrived_and_says_when_each_did(tmp_path: Path) -> None:
    config = small_config(tmp_path, block_steps=20, threshold=0.02)
    result = run_whole(only_group(config, horizon=1000.0), config, tmp_path)
    last = result.reached.max()
    assert (result.reached != NEVER).all()
    assert 1.2 * last <= result.ended[0] < 1.2 * last + 21
    assert result.steps[-1] <= result.ended[0] < result.group.steps


def test_loss_and_overlap_are_logged_from_the_first_block_to_the_last(tmp_path: Path) -> None:
    config = small_config(tmp_path, block_steps=20)
    result = run_whole(only_group(config, ends_early=False, max_steps=400), config, tmp_path)
    assert result.steps[0] == 20 and result.steps[-1] == 400
    assert np.isfinite(result.loss).all() and (result.loss > 0).all()
    np.testing.assert_allclose(result.overlap[-1], result.final, rtol=1e-6)


def test_a_logged_loss_is_the_mean_since_the_log_before(tmp_path: Path) -> None:
    config = small_config(tmp_path, block_steps=20)
    group = only_group(config, horizon=100.0, ends_early=False, max_steps=2400)
    result = run_whole(group, config, tmp_path)
    dynamics = make_dynamics(runs_of(group), config)
    sums = np.cumsum([dynamics.advance(block, 20) for block in range(120)], axis=0)
    since = np.diff(sums[result.steps // 20 - 1], axis=0, prepend=0)
    lengths = np.diff(result.steps, prepend=0)
    assert lengths.max() > 20
    np.testing.assert_allclose(result.loss, since / lengths[:, None, None], rtol=1e-5)


def test_two_sides_start_opposite(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    group = only_group(config)
    assert [run.side for run in runs_of(group)] == [1, -1]
    overlap = GroupRun(group, config, tmp_path)._dynamics.overlap()
    np.testing.assert_allclose(overlap[0], -overlap[1])


@pytest.mark.parametrize("blocks", [1, 7, 1000])
def test_logs_grow_and_end_with_the_last_block(blocks: int) -> None:
    points = log_blocks(blocks)
    assert points[0] == 1 and points[-1] == blocks and points == sorted(set(points))


def test_a_diverging_student_is_a_result(tmp_path: Path) -> None:
    config = small_config(tmp_path, block_steps=20)
    result = run_whole(
        only_group(config, student="scratch", scales=(100.0,), horizon=1e6, max_steps=100), config, tmp_path
    )
    assert result.ended[0] == 100 and not np.isfinite(result.loss[-1]).any()


def test_other_settings_are_another_group(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    group = only_group(config)
    assert only_group(replace(config, seed=1)).name != group.name
    assert only_group(config, horizon=5.0).name != group.name
    assert only_group(config).name == group.name


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    (tmp_path / CHECKPOINT_FILE).write_bytes(json.dumps({}).encode())
    with pytest.raises(ConfigurationError, match="delete it to run its group anew"):
        GroupRun(only_group(config), config, tmp_path)
