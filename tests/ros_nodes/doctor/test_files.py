"""arm.yaml and nodes.yaml: every name in them must exist."""

from pathlib import Path

import pytest

from policy_server.runtime.resources import resource
from ros_nodes.doctor.files import check_arm_file, check_nodes_file
from ros_nodes.doctor.finding import Level
from ros_nodes.doctor.node_parameters import known_parameters

KNOWN = {"arm_node": ("arm_file", "watchdog_s"), "bridge_node": ()}


def nodes_file(folder: Path, text: str) -> Path:
    file = folder / "nodes.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_shipped_files_pass() -> None:
    finding, settings = check_arm_file(resource("config/arm.yaml"), None)
    assert finding.level == Level.OK and settings is not None
    assert check_nodes_file(resource("config/nodes.yaml"), known_parameters()).level == Level.OK


def test_an_unknown_robot_fails_with_those_that_there_are() -> None:
    finding, settings = check_arm_file(resource("config/arm.yaml"), "fr4")
    assert settings is None and finding.level == Level.FAIL and "fr3" in finding.mend


@pytest.mark.parametrize(
    ("text", "found", "mend"),
    [
        ("/**/arm_nod: {ros__parameters: {}}", "no node 'arm_nod'", "did you mean 'arm_node'?"),
        ("arm_node: {ros__parameters: {watchdog: 1.0}}", "no parameter 'watchdog'", "did you mean 'watchdog_s'?"),
        ("/left: {arm_node: {ros__parameters: {arm_fil: x}}}", "no parameter 'arm_fil'", "did you mean 'arm_file'?"),
    ],
)
def test_a_name_that_ros_would_ignore_fails(tmp_path: Path, text: str, found: str, mend: str) -> None:
    finding = check_nodes_file(nodes_file(tmp_path, text), KNOWN)
    assert finding.level == Level.FAIL and found in finding.found and finding.mend == mend


def test_parameters_of_another_packages_node_are_not_judged(tmp_path: Path) -> None:
    assert check_nodes_file(nodes_file(tmp_path, "bridge_node: {ros__parameters: {x: 1}}"), KNOWN).level == Level.OK


def test_a_file_that_is_not_yaml_fails(tmp_path: Path) -> None:
    assert check_nodes_file(nodes_file(tmp_path, "a: [1"), KNOWN).level == Level.FAIL


def test_what_every_node_declares_is_known() -> None:
    from ros_nodes import lifecycle

    shared = {spec.name for spec in lifecycle._SHARED_PARAMETERS}
    known = known_parameters()
    assert known["bridge_node"] == () and {"arm_file", *shared} <= set(known["arm_node"])
    assert all(shared <= set(parameters) for parameters in known.values() if parameters)
