"""Joins the robot's domain for a moment and writes down what is there. The only file of the doctor that listens to ROS.

It subscribes and asks; it publishes nothing.
"""

import importlib
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters
from sensor_msgs.msg import Image, JointState

from ros_nodes import messages, qos, topics
from ros_nodes.doctor.graph_view import Controller, GraphView, ImageArrival, JointArrival
from ros_nodes.doctor.settings import DoctorSettings
from ros_nodes.visitor import Visitor, visit

_NODE = "doctor"
_DISCOVERY_S = 0.8
_ANSWER_S = 2.5
_ARM_PARAMETERS = ("joints", "command_interfaces")


def listen(settings: DoctorSettings, cameras: Sequence[str]) -> GraphView:
    """What is on ``settings.domain_id``, after ``settings.listen_s``; ``cameras``: names of those to listen to."""
    with visit(settings.domain_id, _NODE) as visitor:
        return _look(visitor, settings, cameras)


def _look(visitor: Visitor, settings: DoctorSettings, cameras: Sequence[str]) -> GraphView:
    node = visitor.node
    images: dict[str, list[ImageArrival]] = defaultdict(list)
    joint_states: list[JointArrival] = []
    for camera in cameras:
        node.create_subscription(Image, topics.camera_image(camera), _take(images[camera]), qos.CAMERA_IMAGE_IN_ORDER)
    node.create_subscription(
        JointState, settings.joint_states_topic, lambda message: joint_states.append(_joints(message)), qos.JOINT_STATES
    )
    visitor.turn(max(settings.listen_s, _DISCOVERY_S))
    names = (settings.arm_topic, settings.gripper_topic, settings.robot_state_topic, "/clock")
    services = tuple(name for name, _ in node.get_service_names_and_types())
    return GraphView(
        nodes=tuple(name for name in node.get_node_names() if name != _NODE),
        publishers={name: _ends(node.get_publishers_info_by_topic(_absolute(name))) for name in names},
        subscribers={name: _ends(node.get_subscriptions_info_by_topic(_absolute(name))) for name in names},
        services=services,
        images={camera: tuple(arrivals) for camera, arrivals in images.items()},
        joint_states=tuple(joint_states),
        controllers=_controllers(visitor, f"{_absolute(settings.controller_manager)}/list_controllers", services),
        arm_parameters=_parameters(visitor, f"{_absolute(settings.arm_controller)}/get_parameters", services),
    )


def _take(arrivals: list[ImageArrival]) -> Callable[[Image], None]:
    def on_image(message: Image) -> None:
        stamp_ns = messages.stamp_to_ns(message.header.stamp)
        arrivals.append(ImageArrival(stamp_ns, time.time_ns(), message.width, message.height, message.encoding))

    return on_image


def _joints(message: JointState) -> JointArrival:
    received_ns = time.time_ns()
    positions = dict(zip(message.name, message.position, strict=False))
    return JointArrival(messages.stamp_to_ns(message.header.stamp), received_ns, positions)


def _ends(ends: Sequence[Any]) -> tuple[str, ...]:
    return tuple(end.node_name for end in ends)


def _absolute(name: str) -> str:
    return f"/{name.strip('/')}"


def _controllers(visitor: Visitor, service: str, services: Sequence[str]) -> tuple[Controller, ...] | None:
    """What the controller manager lists; its messages come with ros2_control, the wheels do not have them."""
    try:
        definition = importlib.import_module("controller_manager_msgs.srv").ListControllers
    except ImportError:
        return None
    if service not in services:
        return None
    answer = visitor.ask(definition, service, definition.Request(), _ANSWER_S)
    return None if answer is None else tuple(Controller(each.name, each.state, each.type) for each in answer.controller)


def _parameters(visitor: Visitor, service: str, services: Sequence[str]) -> dict[str, tuple[str, ...]]:
    if service not in services:
        return {}
    answer: Any = visitor.ask(GetParameters, service, GetParameters.Request(names=list(_ARM_PARAMETERS)), _ANSWER_S)
    values = [] if answer is None else answer.values
    return {
        name: tuple(value.string_array_value)
        for name, value in zip(_ARM_PARAMETERS, values, strict=False)
        if value.type == ParameterType.PARAMETER_STRING_ARRAY
    }
