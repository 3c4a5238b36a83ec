"""What is right in simulation and wrong on an arm is told."""

from dataclasses import replace
from pathlib import Path

import pytest

from policy_server.runtime.resources import resource
from ros_nodes.doctor.finding import Finding, Level
from ros_nodes.doctor.safety import check_safety
from ros_nodes.franka.settings import GuardSettings, load_guard_settings


@pytest.fixture
def guard() -> GuardSettings:
    shipped = load_guard_settings(resource("config/arm.yaml"))
    return replace(shipped, workspace=replace(shipped.workspace, table_height_m=0.1, table_clearance_m=0.02))


def found(guard: GuardSettings, nodes_file: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_safety(guard, nodes_file)}


def nodes_file(folder: Path, text: str) -> Path:
    file = folder / "nodes.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_workspace_of_ones_own_and_arming_by_command_pass(guard: GuardSettings) -> None:
    findings = found(guard, resource("config/nodes.yaml"))
    assert {finding.level for finding in findings.values()} == {Level.OK}
    assert "nothing below 0.120 m" in findings["workspace"].found


def test_the_shipped_workspace_warns() -> None:
    shipped = load_guard_settings(resource("config/arm.yaml"))
    assert found(shipped, resource("config/nodes.yaml"))["workspace"].level == Level.WARN


@pytest.mark.parametrize("name", ["auto_arm", "auto_resume"])
def test_an_arm_that_moves_without_a_command_fails(guard: GuardSettings, tmp_path: Path, name: str) -> None:
    file = nodes_file(tmp_path, f"/**/arm_node: {{ros__parameters: {{{name}: true}}}}")
    assert found(guard, file)["arming"].level == Level.FAIL
    off = nodes_file(tmp_path, f"/left: {{arm_node: {{ros__parameters: {{{name}: false, dead_man: true}}}}}}")
    assert found(guard, off)["arming"].level == Level.OK and found(guard, off)["dead-man"].found == "on"


def test_a_nodes_file_that_does_not_read_is_skipped_here(guard: GuardSettings, tmp_path: Path) -> None:
    assert found(guard, tmp_path / "none.yaml")["arming"].level == Level.SKIP
