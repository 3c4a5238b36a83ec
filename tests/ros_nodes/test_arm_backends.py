"""The ROS side of the arm's backends."""

import importlib.util
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.resources import resource
from ros_nodes import messages
from ros_nodes.arm_backends import BACKEND_PARAMETERS, joint_state, open_backend
from ros_nodes.franka.backends.backend import ArmMode, ArmReading, BackendMissingError
from ros_nodes.franka.settings import load_guard_settings
from ros_nodes.gripper_action import GripperAction
from sim_bridge.fr3 import HOME_RAD

LIMITS = load_guard_settings(resource("config/arm.yaml")).limits
DEFAULTS = {parameter.name: parameter.default for parameter in BACKEND_PARAMETERS}


def reading(width_m: float | None) -> ArmReading:
    return ArmReading(1_500_000_000, HOME_RAD, np.arange(7.0), None, width_m, ArmMode.MOVING, ())


def test_a_reading_names_every_joint_and_both_fingers() -> None:
    message = joint_state(reading(0.06), LIMITS.joints)
    assert messages.stamp_to_ns(message.header.stamp) == 1_500_000_000
    assert list(message.name) == [*LIMITS.joints[:7], "fr3_finger_joint1", "fr3_finger_joint2"]
    np.testing.assert_allclose(messages.joint_positions(message, LIMITS.joints), [*HOME_RAD, 0.03])
    assert list(message.velocity[:7]) == list(np.arange(7.0))


def test_fingers_of_unknown_width_are_left_out_and_not_made_up() -> None:
    assert list(joint_state(reading(None), LIMITS.joints).name) == list(LIMITS.joints[:7])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"backend": "pandapy"}, "'pandapy': choose trajectory_topic or franky"),
        ({"backend": "franky"}, "robot_address"),
    ],
)
def test_what_cannot_be_opened_is_refused_by_name(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        open_backend(SimpleNamespace(), {**DEFAULTS, **changes}, LIMITS, lambda: 0)  # type: ignore[arg-type]


@pytest.mark.skipif(importlib.util.find_spec("control_msgs") is not None, reason="control_msgs is installed here")
def test_a_gripper_action_without_its_messages_is_refused_with_the_mend() -> None:
    with pytest.raises(BackendMissingError, match=r"control_msgs.*trajectory"):
        GripperAction(SimpleNamespace(), "franka_gripper/gripper_action")  # type: ignore[arg-type]
