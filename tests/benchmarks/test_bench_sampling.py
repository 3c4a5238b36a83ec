from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.benchmarks.named_runs import module_of_benchmarks, write_run


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return module_of_benchmarks(monkeypatch, "bench_sampling")


def test_a_student_is_compared_with_its_teacher_s_most_steps_and_with_as_many(
    bench: ModuleType, tmp_path: Path
) -> None:
    teacher, student = write_run(tmp_path / "teacher"), write_run(tmp_path / "student", student_steps=3)
    entries = bench.read_entries([f"{teacher}:1,10", f"{student}:1,2"], None)
    outcomes = [[0, 0, 1, 0], [1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 0]]
    measured = [bench.Measured(e, np.array(o, np.int8), 1.0) for e, o in zip(entries, outcomes, strict=True)]
    rows = [bench.row(each, measured) for each in measured]
    assert [row["successes"] for row in rows] == [1, 4, 3, 3]
    assert [row["difference"] and row["difference"]["difference"] for row in rows] == [-0.75, None, -0.25, -0.25]
    equal = [row["difference_at_equal_steps"] for row in rows]
    assert equal[0] is equal[1] is equal[3] is None
    assert equal[2]["difference"] == 0.5 and equal[2]["from"].endswith("teacher:1")
