from pathlib import Path

import pytest

from policy_server.comparison import step_times
from policy_server.comparison.runs import Runs
from policy_server.comparison.step_times import interleaved_s, step_times_s
from tests.policy_server.comparison.small_comparison import small_comparison


def test_contestants_take_turns_and_each_gets_its_median(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    now_s = 0.0
    took_s = {"slow": [9.0, 3.0, 5.0, 4.0], "quick": [9.0, 1.0, 1.0, 8.0]}

    def step(name: str) -> None:
        nonlocal now_s
        now_s += took_s[name][turns.count(name)]
        turns.append(name)

    monkeypatch.setattr(step_times.time, "perf_counter", lambda: now_s)
    times_s = interleaved_s({"slow": lambda: step("slow"), "quick": lambda: step("quick")}, 3, "both")
    assert turns == ["slow", "quick"] * 4
    assert times_s == {"slow": 4.0, "quick": 1.0}  # the first round warms up


def test_times_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_comparison(tmp_path)
    runs = Runs(config).compared({("unet", "torch_muon"): 0.1})
    config.output.mkdir()
    measured: list[int] = []

    def measure(own: object, rounds: int) -> dict[str, float]:
        measured.append(rounds)
        return {"torch_muon": 0.5}

    monkeypatch.setattr(step_times, "_measure", measure)
    for rounds in (3, 3, 4):
        assert step_times_s(runs[:1], rounds, config.output) == {"torch_muon": 0.5}
    assert measured == [3, 4]
