"""The record of a soak: kept whole, gone on from, and not mixed with another's."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from sim_bridge.soak.record import SoakConditions, SoakRecord, SoakRecordError, load_or_begin

CONDITIONS = SoakConditions("reach_cued", "ab12", "cd34", enforce_communication=False, every_s=10.0)


def test_the_same_command_goes_on_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "soak.json"
    record = load_or_begin(file, 10.0, 0, CONDITIONS)
    record.done_s = 90.0
    record.count("camera frozen", "struck")
    record.reflexes_by_us.append("joint_velocity_violation: dq joint 3")
    record.save(file)
    assert list(tmp_path.iterdir()) == [file]
    again = load_or_begin(file, 10.0, 0, CONDITIONS)
    assert again == record
    assert again.left_s == 510.0


@pytest.mark.parametrize(
    ("minutes", "seed", "conditions", "named"),
    [
        (5.0, 0, CONDITIONS, "minutes was 10.0 and is now 5.0"),
        (10.0, 1, CONDITIONS, "seed was 0 and is now 1"),
        (10.0, 0, replace(CONDITIONS, task="push_to_goal"), "task was reach_cued and is now push_to_goal"),
        (10.0, 0, replace(CONDITIONS, bundle_hash="ef56"), "bundle hash was ab12 and is now ef56"),
        (10.0, 0, replace(CONDITIONS, arm_file_sha256="ef56"), "arm file sha256 was cd34 and is now ef56"),
        (
            10.0,
            0,
            replace(CONDITIONS, enforce_communication=True),
            "enforce communication was False and is now True",
        ),
        (10.0, 0, replace(CONDITIONS, every_s=5.0), "every s was 10.0 and is now 5.0"),
    ],
)
def test_another_soaks_record_is_refused_and_only_what_differs_named(
    tmp_path: Path, minutes: float, seed: int, conditions: SoakConditions, named: str
) -> None:
    file = tmp_path / "soak.json"
    SoakRecord(10.0, 0, CONDITIONS).save(file)
    with pytest.raises(SoakRecordError) as refused:
        load_or_begin(file, minutes, seed, conditions)
    assert f"({named})" in str(refused.value)
    assert "give the same options or choose another file" in str(refused.value)


def test_an_old_record_that_does_not_say_its_conditions_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "soak.json"
    old = SoakRecord(10.0, 0, CONDITIONS, done_s=90.0).summary()
    old.pop("conditions")
    file.write_text(json.dumps(old))
    with pytest.raises(SoakRecordError, match=r"old record .* choose another file"):
        load_or_begin(file, 10.0, 0, CONDITIONS)


@pytest.mark.parametrize("text", ["{}", "[]", "3", "no json", json.dumps({"summary": {}, "conditions": 3})])
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "soak.json"
    file.write_text(text)
    with pytest.raises(SoakRecordError, match="no record"):
        load_or_begin(file, 10.0, 0, CONDITIONS)


def test_the_record_says_its_conditions(tmp_path: Path) -> None:
    file = tmp_path / "soak.json"
    SoakRecord(10.0, 0, CONDITIONS).save(file)
    assert json.loads(file.read_text())["conditions"] == asdict(CONDITIONS)


def test_the_summary_counts_what_was_our_fault() -> None:
    record = SoakRecord(1.0, 0, CONDITIONS, done_s=61.0, reflexes_injected=2, rest_s=[0.4, 0.5], paces=[1.0, 0.5])
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
