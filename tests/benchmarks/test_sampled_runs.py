from pathlib import Path
from types import ModuleType

import pytest

from policy_server.runtime.errors import ConfigurationError
from tests.benchmarks.named_runs import module_of_benchmarks, write_run


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return module_of_benchmarks(monkeypatch, "sampled_runs")


def named(entries: list[object]) -> list[str]:
    return [str(entry).rpartition("/")[2] for entry in entries]


def test_runs_without_steps_take_those_they_were_trained_for(runs: ModuleType, tmp_path: Path) -> None:
    teacher = write_run(tmp_path / "teacher")
    student = write_run(tmp_path / "student", student_steps=3)
    entries = runs.read_entries([str(teacher), str(student)], None)
    assert named(entries) == [*(f"teacher:{n}" for n in (1, 2, 3, 5, 10)), *(f"student:{n}" for n in (1, 2, 3))]


def test_a_run_s_own_steps_go_before_those_of_all(runs: ModuleType, tmp_path: Path) -> None:
    teacher, student = write_run(tmp_path / "teacher"), write_run(tmp_path / "student", student_steps=3)
    entries = runs.read_entries([f"{teacher}:10,1,10", str(student)], [2])
    assert named(entries) == ["teacher:1", "teacher:10", "student:2"]


@pytest.mark.parametrize(
    ("steps", "reason"),
    [(":4", "trained for 1 to 3"), (":0", "trained for 1 to 3"), (":two", "after the colon come numbers")],
)
def test_steps_that_a_student_was_not_taught_are_refused(
    runs: ModuleType, tmp_path: Path, steps: str, reason: str
) -> None:
    student = write_run(tmp_path / "student", student_steps=3)
    with pytest.raises(ConfigurationError, match=reason):
        runs.read_entries([f"{student}{steps}"], None)


def test_runs_of_two_tasks_are_not_compared(runs: ModuleType, tmp_path: Path) -> None:
    both = [str(write_run(tmp_path / task, task)) for task in ("press_count", "reach_cued")]
    with pytest.raises(ConfigurationError, match="runs of press_count and reach_cued"):
        runs.read_entries(both, [1])
