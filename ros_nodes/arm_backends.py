"""The ROS side of the arm's backends: opens the one that a parameter names and joins it to topics.

``arm_node`` declares ``BACKEND_PARAMETERS``, calls ``open_backend`` when it opens and ``ArmLink.listen`` when it starts,
and from then on knows only ``ArmBackend``. With franky no driver publishes joint states, so they are published here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.qos import QoSPresetProfiles
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from policy_server.runtime.errors import ConfigurationError
from ros_nodes import messages, qos, topics
from ros_nodes.franka.backends.backend import ArmBackend, ArmReading
from ros_nodes.franka.backends.franky_arm import FrankyArm
from ros_nodes.franka.backends.franky_settings import FrankySettings
from ros_nodes.franka.backends.trajectory_topic import TrajectoryTopicArm
from ros_nodes.franka.limits import JointLimits
from ros_nodes.franka.set_points import SetPoints
from ros_nodes.gripper_action import GripperAction
from ros_nodes.lifecycle import ManagedNode
from ros_nodes.optional_messages import optional_messages
from ros_nodes.parameters import ParameterSpec, required
from ros_nodes.robot_recovery import FrankaRos2Recovery

TRAJECTORY_TOPIC = "trajectory_topic"
FRANKY = "franky"
BACKENDS = (TRAJECTORY_TOPIC, FRANKY)
GRIPPER_BY_TRAJECTORY = "trajectory"
GRIPPER_BY_ACTION = "action"
GRIPPERS = (GRIPPER_BY_TRAJECTORY, GRIPPER_BY_ACTION)

BACKEND_PARAMETERS = (
    ParameterSpec("backend", TRAJECTORY_TOPIC, f"who moves the arm: {' or '.join(BACKENDS)}"),
    ParameterSpec("robot_address", "", "franky: the robot's IP address"),
    ParameterSpec("require_realtime", True, "franky: refuse to start without a real-time kernel; false on loopback"),
    ParameterSpec("hand", True, "franky: a Franka Hand is mounted"),
    ParameterSpec("gripper", GRIPPER_BY_TRAJECTORY, f"trajectory_topic: moves the gripper by {' or '.join(GRIPPERS)}"),
    ParameterSpec(
        "gripper_action",
        "franka_gripper/gripper_action",
        "control_msgs/GripperCommand action of the gripper; its node is called franka_gripper or fr3_gripper",
    ),
    ParameterSpec(
        "robot_state_topic",
        "franka_robot_state_broadcaster/robot_state",
        "trajectory_topic: franka_msgs/FrankaRobotState with mode and errors; read where franka_msgs is installed",
    ),
)

ClockNs = Callable[[], int]


@dataclass(frozen=True)
class ArmLink:
    """An open arm.

    Attributes:
        arm: moves it.
        listen: subscribes to what the arm is known by; to be called at every start.
    """

    arm: ArmBackend
    listen: Callable[[], None]


def open_backend(node: ManagedNode, values: Mapping[str, Any], limits: JointLimits, clock_ns: ClockNs) -> ArmLink:
    """Open the arm that the parameters name; it lives until its ``close``.

    Raises:
        ConfigurationError: an unknown backend or gripper, or no robot address.
        BackendError: the arm is not reachable, or a package is missing.
    """
    match values["backend"]:
        case str(name) if name == TRAJECTORY_TOPIC:
            return _trajectory_topic(node, values, limits, clock_ns)
        case str(name) if name == FRANKY:
            return _franky(node, values, limits, clock_ns)
        case other:
            raise ConfigurationError(f"parameter 'backend' is '{other}': choose {' or '.join(BACKENDS)}")


def _franky(node: ManagedNode, values: Mapping[str, Any], limits: JointLimits, clock_ns: ClockNs) -> ArmLink:
    settings = FrankySettings(
        address=required(values, "robot_address"),
        hand=values["hand"],
        require_realtime=values["require_realtime"],
    )
    publisher = node.advertise(JointState, topics.JOINT_STATES, qos.JOINT_STATES)

    def publish(reading: ArmReading) -> None:
        publisher.publish(joint_state(reading, limits.joints))

    arm = FrankyArm(settings, limits, clock_ns, publish)
    return ArmLink(arm, lambda: None)


def _trajectory_topic(node: ManagedNode, values: Mapping[str, Any], limits: JointLimits, clock_ns: ClockNs) -> ArmLink:
    gripper = node.advertise(JointTrajectory, topics.GRIPPER_TRAJECTORY, qos.JOINT_TRAJECTORY)
    arm = node.advertise(JointTrajectory, topics.ARM_TRAJECTORY, qos.JOINT_TRAJECTORY)
    joints = limits.joints
    by_action = _gripper_action(node, values)

    def send(points: SetPoints) -> None:
        now_ns = clock_ns()
        if by_action is None:
            gripper.publish(_trajectory(points, now_ns, joints, slice(-1, None)))
        elif len(points):
            by_action.move(2.0 * float(points.positions[-1, -1]))
        arm.publish(_trajectory(points, now_ns, joints, slice(0, -1)))

    backend = TrajectoryTopicArm(send, clock_ns, FrankaRos2Recovery(node).run)

    def listen() -> None:
        node.subscribe(
            JointState, topics.JOINT_STATES, qos.JOINT_STATES, lambda state: _take_joint_state(backend, state, joints)
        )
        _subscribe_robot_state(node, values["robot_state_topic"], backend)

    return ArmLink(backend, listen)


def joint_state(reading: ArmReading, joints: tuple[str, ...]) -> JointState:
    """A reading as joint states: the arm's joints and, when the width is known, both fingers."""
    names, positions = list(joints[:-1]), reading.positions_rad.tolist()
    velocities = reading.velocities_rad_s.tolist()
    if reading.gripper_width_m is not None:
        names += [joints[-1], joints[-1].replace("joint1", "joint2")]
        positions += [reading.gripper_width_m / 2] * 2
        velocities += [0.0, 0.0]
    message = JointState(name=names, position=positions, velocity=velocities)
    message.header.stamp = messages.ns_to_stamp(reading.stamp_ns)
    return message


def _trajectory(points: SetPoints, now_ns: int, joints: tuple[str, ...], columns: slice) -> JointTrajectory:
    return messages.targets_to_trajectory(
        messages.JointTargets(
            now_ns, joints[columns], points.times_ns, points.positions[:, columns], points.velocities[:, columns]
        )
    )


def _take_joint_state(backend: TrajectoryTopicArm, message: JointState, joints: tuple[str, ...]) -> None:
    arm = joints[:-1]
    if not set(arm) <= set(message.name):
        return  # franka_ros2 publishes the fingers' states by themselves too
    positions = messages.joint_positions(message, arm)
    index = {name: row for row, name in enumerate(message.name)}
    velocities = None
    if len(message.velocity) == len(message.name):
        velocities = np.array([message.velocity[index[name]] for name in arm], np.float64)
    width_m = 2.0 * float(message.position[index[joints[-1]]]) if joints[-1] in index else None
    backend.take_joint_state(messages.stamp_to_ns(message.header.stamp), positions, velocities, width_m)


def _subscribe_robot_state(node: ManagedNode, topic: str, backend: TrajectoryTopicArm) -> None:
    franka = optional_messages("franka_msgs.msg")
    if franka is None:
        return

    def take(message: Any) -> None:
        errors = message.current_errors
        names = tuple(name for name in errors.get_fields_and_field_types() if getattr(errors, name) is True)
        force, torque = message.o_f_ext_hat_k.wrench.force, message.o_f_ext_hat_k.wrench.torque
        wrench = np.array([force.x, force.y, force.z, torque.x, torque.y, torque.z])
        backend.take_robot_state(node.get_clock().now().nanoseconds, int(message.robot_mode), names, wrench)

    node.subscribe(franka.FrankaRobotState, topic, QoSPresetProfiles.SENSOR_DATA.value, take)


def _gripper_action(node: ManagedNode, values: Mapping[str, Any]) -> GripperAction | None:
    match values["gripper"]:
        case str(name) if name == GRIPPER_BY_TRAJECTORY:
            return None
        case str(name) if name == GRIPPER_BY_ACTION:
            return GripperAction(node, values["gripper_action"])
        case other:
            raise ConfigurationError(f"parameter 'gripper' is '{other}': choose {' or '.join(GRIPPERS)}")
