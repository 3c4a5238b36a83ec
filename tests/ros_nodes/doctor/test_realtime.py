"""Kernel, limits, governor and cores, read from a tree as the kernel shows it."""

from pathlib import Path

import pytest

from ros_nodes.doctor.finding import Finding, Level
from ros_nodes.doctor.realtime import check_realtime
from ros_nodes.doctor.system import System

GOOD = {
    "proc/version": "Linux version 6.12.9-rt (gcc) #1 SMP PREEMPT_RT Debian",
    "proc/self/limits": (
        "Limit                     Soft Limit           Hard Limit           Units\n"
        "Max locked memory         104857600            104857600            bytes\n"
        "Max realtime priority     99                   99\n"
    ),
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance",
    "sys/devices/system/cpu/isolated": "1",
}


def machine(root: Path, **changed: str | None) -> System:
    """A file tree; a change of None removes the file. Keys are the last part of its path."""
    for path, content in GOOD.items():
        value = changed.get(Path(path).name, content)
        if value is not None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(value + "\n", encoding="utf-8")
    return System(root)


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_a_machine_made_for_it_passes(tmp_path: Path) -> None:
    findings = check_realtime(machine(tmp_path), drives_arm=True)
    assert {finding.level for finding in findings} == {Level.OK}
    assert by_name(findings)["isolated cores"].found == "1"


def test_a_plain_kernel_fails_where_this_machine_drives_the_arm_and_warns_elsewhere(tmp_path: Path) -> None:
    system = machine(tmp_path, version="Linux version 6.12.9-amd64 (gcc) #1 SMP PREEMPT_DYNAMIC")
    assert by_name(check_realtime(system, drives_arm=True))["real-time kernel"].level == Level.FAIL
    found = by_name(check_realtime(system, drives_arm=False))["real-time kernel"]
    assert found.level == Level.WARN and "6.12.9-amd64" in found.found and found.mend


def test_a_patched_kernel_of_before_6_12_is_known_by_its_name(tmp_path: Path) -> None:
    system = machine(tmp_path, version="Linux version 5.9.1-rt20 (gcc) #1 SMP PREEMPT RT Mon")
    assert by_name(check_realtime(system, drives_arm=True))["real-time kernel"].level == Level.OK


def test_an_older_real_time_kernel_is_known_by_its_switch(tmp_path: Path) -> None:
    system = machine(tmp_path, version="Linux version 5.15.0 (gcc) #1 SMP")
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/realtime").write_text("1\n", encoding="utf-8")
    assert by_name(check_realtime(system, drives_arm=True))["real-time kernel"].level == Level.OK


@pytest.mark.parametrize(("priority", "level"), [("98", Level.FAIL), ("99", Level.OK), ("unlimited", Level.OK)])
def test_the_priority_must_reach_libfrankas(tmp_path: Path, priority: str, level: Level) -> None:
    system = machine(
        tmp_path, limits=f"Max locked memory   unlimited  unlimited\nMax realtime priority   {priority}  0\n"
    )
    findings = by_name(check_realtime(system, drives_arm=True))
    assert findings["real-time priority"].level == level
    assert findings["locked memory"].found == "unlimited"


def test_too_little_locked_memory_is_told(tmp_path: Path) -> None:
    system = machine(tmp_path, limits="Max locked memory   65536  65536\nMax realtime priority   99  99\n")
    found = by_name(check_realtime(system, drives_arm=True))["locked memory"]
    assert found.level == Level.WARN and "64 kB" in found.found


def test_one_core_that_saves_power_is_counted(tmp_path: Path) -> None:
    system = machine(tmp_path)
    (tmp_path / "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor").write_text("powersave\n", encoding="utf-8")
    found = by_name(check_realtime(system, drives_arm=True))["CPU governor"]
    assert found.level == Level.WARN and found.found == "powersave on 1 of 2 cores"


def test_what_the_kernel_does_not_show_is_skipped_or_failed_but_never_ok(tmp_path: Path) -> None:
    levels = {
        name: finding.level for name, finding in by_name(check_realtime(System(tmp_path), drives_arm=True)).items()
    }
    assert levels.pop("real-time kernel") == Level.FAIL
    assert set(levels.values()) == {Level.SKIP}
