from pathlib import Path

import pytest

from policy_server.sweep.estimate import duration, time_left_s
from policy_server.sweep.jobs import Job, mark_done


def job(folder: Path, size: int, done: int = 0, step_s: float = 0.0) -> Job:
    folder.mkdir()
    if done:
        (folder / "loss.csv").write_text(f"step,loss,seconds\n{done},0.1,{step_s}\n")
    return Job(folder.name, folder, ("true",), 100, size, "")


def test_nothing_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    assert time_left_s([job(tmp_path / "a", 10)], 1) is None


def test_unmeasured_jobs_take_after_the_nearest_size_and_grow_with_it(tmp_path: Path) -> None:
    jobs = [
        job(tmp_path / "a", 10, 50, 1.0),  # 50 s left
        job(tmp_path / "b", 30),  # after a: 3 s per step
        job(tmp_path / "c", 90, 90, 6.0),  # 60 s left
        job(tmp_path / "d", 80),  # after c, no less than it
    ]
    assert time_left_s(jobs, 1) == pytest.approx(50 + 300 + 60 + 600)
    assert time_left_s(jobs, 4) == pytest.approx(600)  # no sooner than the longest


def test_what_is_done_takes_no_time(tmp_path: Path) -> None:
    done = job(tmp_path / "a", 10, 100, 1.0)
    mark_done(done, 100.0)
    assert time_left_s([done], 1) == 0


@pytest.mark.parametrize(("seconds", "shown"), [(9.4, "9 s"), (75, "1 min 15 s"), (7_500, "2 h 05 min")])
def test_durations_read_well(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
