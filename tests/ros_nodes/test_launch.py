"""The launch files, where ``ros2 launch`` is installed: one argument per option, one action per node."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from policy_server.runtime.resources import resource
from ros_nodes.graph import RobotOptions, SimOptions

pytest.importorskip("launch_ros", reason="launch_ros comes with an apt ROS 2")


def description_of(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(file.stem.replace(".", "_"), file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@pytest.mark.parametrize(("scenario", "options"), [("sim", SimOptions), ("robot", RobotOptions)])
def test_the_launch_arguments_are_the_options_of_the_graph(scenario: str, options: type) -> None:
    description = description_of(resource(f"launch/{scenario}.launch.py"))
    arguments = {argument.name for argument in description.get_launch_arguments()}
    assert arguments == {field.name for field in dataclasses.fields(options)}
