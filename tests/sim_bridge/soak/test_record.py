"""The record of a soak: kept whole, gone on from, and not mixed with another's."""

from pathlib import Path

import pytest

from sim_bridge.soak.record import SoakRecord, SoakRecordError, load_or_begin


def test_the_same_command_goes_on_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "soak.json"
    record = load_or_begin(file, 10.0, 0)
    record.done_s = 90.0
    record.count("camera frozen", "struck")
    record.reflexes_by_us.append("joint_velocity_violation: dq joint 3")
    record.save(file)
    again = load_or_begin(file, 10.0, 0)
    assert again == record
    assert again.left_s == 510.0


@pytest.mark.parametrize(("minutes", "seed"), [(5.0, 0), (10.0, 1)])
def test_another_soaks_record_is_refused(tmp_path: Path, minutes: float, seed: int) -> None:
    file = tmp_path / "soak.json"
    SoakRecord(10.0, 0).save(file)
    with pytest.raises(SoakRecordError, match=r"10\.0 minutes with seed 0"):
        load_or_begin(file, minutes, seed)


def test_a_file_that_is_no_record_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "soak.json"
    file.write_text("{}")
    with pytest.raises(SoakRecordError, match="no record"):
        load_or_begin(file, 10.0, 0)


def test_the_summary_counts_what_was_our_fault() -> None:
    record = SoakRecord(1.0, 0, done_s=61.0, reflexes_injected=2, rest_s=[0.4, 0.5], paces=[1.0, 0.5])
    record.reflexes_by_us = ["one"]
    record.count("reflex", "struck")
    record.count("reflex", "moved again")
    assert record.summary()["summary"] == {
        "complete": True,
        "reflexes_by_us": 1,
        "faults": 1,
        "moved_again": 1,
        "longest_rest_s": 0.5,
        "mean_pace": 0.75,
    }
