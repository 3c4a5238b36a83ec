"""A part of the attack on the guard, and what the command does with it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ros_nodes.franka.blending import Rule
from ros_nodes.franka.fuzz import ROBOTS, Tally, _varied, attack_once
from ros_nodes.franka.guard import Guard
from ros_nodes.franka.set_points import JointMotion, SetPoints
from ros_nodes.franka.settings import load_guard_settings

ARM_YAML = Path(__file__).parents[3] / "config" / "arm.yaml"
ROOT = Path(__file__).parents[3]


# 2808: its plan begins beyond a joint's end.
@pytest.mark.parametrize("seed", [*range(8), 2808])
def test_no_stream_of_chunks_drives_the_arm_out_of_its_limits_or_keeps_it_from_resting(seed: int) -> None:
    tally = Tally()
    attack_once(tally, seed, ARM_YAML, chunks=50)
    assert tally.violations == [] and tally.bad_streams == 0 and tally.late_rests == 0
    assert tally.chunks >= 50 and tally.set_points > 50
    assert tally.counters["accepted"] > 5


def test_every_rule_of_blending_meets_every_rate_on_both_robots() -> None:
    settings = {robot: load_guard_settings(ARM_YAML, robot) for robot in ROBOTS}
    varied = {robot: [_varied(settings[robot], seed) for seed in range(i, 540, 2)] for i, robot in enumerate(ROBOTS)}
    for each in varied.values():
        assert {(one.blending.rule, one.set_point_period_ns) for one in each} == {
            (rule, ms * 1_000_000) for rule in Rule for ms in (1, 2, 5, 10)
        }


@pytest.mark.slow
def test_many_streams_use_every_reason_to_refuse() -> None:
    tally = Tally()
    for seed in range(100, 112):
        attack_once(tally, seed, ARM_YAML, chunks=100)
    assert tally.violations == []
    never = {name for name, count in tally.counters.items() if not count}
    # Its arm is asked without a break; the box mostly comes before the arm itself, test_keep_out.py has the other.
    assert never <= {"not_latched", "late", "self_collision"}


def test_the_judge_sees_a_guard_that_lets_a_jump_through(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Guard.advance

    def jumping(guard: Guard, until_ns: int) -> SetPoints:
        points = honest(guard, until_ns)
        if len(points) > 3:
            points.positions[2, 0] += 0.01
        return points

    monkeypatch.setattr(Guard, "advance", jumping)
    tally = Tally()
    attack_once(tally, 0, ARM_YAML, chunks=20)
    assert tally.bad_streams == 1 and "jerk: fr3_joint1" in "".join(tally.violations)


def test_the_judge_sees_an_arm_that_does_not_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JointMotion, "is_at_rest", lambda motion: False)
    creeping = Guard.advance

    def advance(guard: Guard, until_ns: int) -> SetPoints:
        points = creeping(guard, until_ns)
        points.positions[:, 0] += 1e-9 * np.arange(len(points))
        return points

    monkeypatch.setattr(Guard, "advance", advance)
    tally = Tally()
    attack_once(tally, 0, ARM_YAML, chunks=20)
    assert tally.late_rests == 1


@pytest.mark.slow
def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    result = tmp_path / "fuzz.json"

    def run(chunks: int) -> dict[str, object]:
        command = [sys.executable, "-m", "ros_nodes.franka.fuzz", "--chunks", str(chunks), "--json", str(result)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
        assert str(result) in done.stdout.splitlines()[-1]
        return dict(json.loads(result.read_text(encoding="utf-8")))

    first, second = run(1), run(300)
    assert first["streams"] == 1 and second["streams"] == 2
    alone = Tally()
    for seed in range(2):
        attack_once(alone, seed, ARM_YAML)
    assert second["set_points"] == alone.set_points and second["counters"] == alone.counters
