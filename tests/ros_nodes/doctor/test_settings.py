"""The doctor's options are those of the graph."""

import dataclasses

import pytest

from policy_server.runtime.configuration import load
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.resources import resource
from ros_nodes.doctor.settings import DoctorSettings
from ros_nodes.graph import RobotOptions

_MEANT_OTHERWISE = {"robot", "bundle"}


def test_options_of_the_same_name_have_the_graphs_defaults() -> None:
    ours, graphs = DoctorSettings(), RobotOptions(bundle="")
    shared = {field.name for field in dataclasses.fields(ours)} & {field.name for field in dataclasses.fields(graphs)}
    assert {"cameras_file", "arm_topic", "domain_id"} <= shared
    for name in shared - _MEANT_OTHERWISE:
        assert getattr(ours, name) == getattr(graphs, name), name


def test_the_shipped_file_holds_the_defaults() -> None:
    assert load(DoctorSettings, resource("config/doctor.yaml")) == DoctorSettings()


def test_the_arm_controller_is_the_owner_of_its_topic() -> None:
    assert DoctorSettings().arm_controller == "fr3_arm_controller"
    assert (
        DoctorSettings(arm_topic="/left/fer_arm_controller/joint_trajectory").arm_controller
        == "left/fer_arm_controller"
    )


@pytest.mark.parametrize("name", ["listen_s", "image_rate_hz", "image_width"])
def test_times_and_sizes_must_be_positive(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        DoctorSettings(**{name: 0})
