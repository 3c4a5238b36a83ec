"""docs/hardware.md names what exists: commands, targets, options, keys, checks."""

import dataclasses
import importlib.util
import re
from pathlib import Path

import yaml

from ros_nodes.doctor.checks import CHECKS
from ros_nodes.doctor.settings import DoctorSettings
from ros_nodes.franka.arm_states import ArmState
from ros_nodes.graph import RobotOptions

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/hardware.md").read_text(encoding="utf-8")


def test_every_command_on_the_page_exists() -> None:
    modules = set(re.findall(r"python -m ([\w.]+)", PAGE))
    assert {"ros_nodes.doctor", "ros_nodes.operate", "ros_nodes.calibrate"} <= modules
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


def test_every_make_target_on_the_page_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)", PAGE))
    assert named and named <= targets


def test_every_option_on_the_page_exists() -> None:
    known = {field.name for cls in (DoctorSettings, RobotOptions) for field in dataclasses.fields(cls)}
    franka_ros2 = {"robot_ip", "robot_type", "load_gripper", "joint_state_rate"}
    assert set(re.findall(r"\b(\w+):=", PAGE)) <= known | franka_ros2
    assert set(re.findall(r"[\s']([a-z_]+)=(?:/path|…|franky)", PAGE)) <= known


def test_every_variable_of_make_on_the_page_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    variables = set(re.findall(r"\b([A-Z_]+)=", PAGE))
    assert {"ROBOT", "BUNDLE"} <= variables
    assert all(f"$({name})" in makefile for name in variables)


def test_every_check_and_every_state_is_on_the_page() -> None:
    assert all(f"\n| `{check.name}` |" in PAGE for check in CHECKS)
    assert all(f"\n| `{state}` |" in PAGE for state in ArmState)


def test_every_key_of_the_arm_file_on_the_page_exists() -> None:
    values = yaml.safe_load((ROOT / "config/arm.yaml").read_text(encoding="utf-8"))
    keys = {*values, *values["workspace"]}
    named = {"velocity_scale", "acceleration_scale", "max_force_n", "max_torque_nm", "table_height_m", "arm_latency_s"}
    assert named <= keys and all(name in PAGE for name in named)


def test_every_link_to_another_page_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[\w-]+)?\)", PAGE)
    assert links and [link for link in links if not (ROOT / "docs" / link).exists()] == []
