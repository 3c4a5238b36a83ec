from pathlib import Path

import pytest

from policy_server.sweep.jobs import Job, fingerprint, mark_done

HEADER = "step,loss,seconds\n"


def job(folder: Path, settings: object = 0) -> Job:
    return Job("run", folder, ("true",), 100, 1000, fingerprint(settings))


def test_a_fingerprint_changes_with_a_setting_and_not_with_their_order() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_a_job_is_done_with_the_settings_it_was_done_with(tmp_path: Path) -> None:
    assert not job(tmp_path).is_done
    mark_done(job(tmp_path), 1.0)
    assert job(tmp_path).is_done and job(tmp_path).steps_done == 100
    assert not job(tmp_path, settings=1).is_done


@pytest.mark.parametrize("tail", ["", "40,0.1,", "40"])
def test_the_loss_curve_says_how_far_it_is_half_a_line_or_not(tmp_path: Path, tail: str) -> None:
    assert job(tmp_path).steps_done == 0 and job(tmp_path).step_s is None
    (tmp_path / "loss.csv").write_text(f"{HEADER}10,0.3,0.5\n20,0.2,0.1\n30,0.2,0.2\n{tail}")
    assert job(tmp_path).steps_done == 30
    assert job(tmp_path).step_s == 0.2
