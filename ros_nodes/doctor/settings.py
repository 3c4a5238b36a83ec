"""What the doctor is asked to look at: the options of the robot's graph, and how long to look."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.resources import resource
from ros_nodes import topics
from ros_nodes.graph import default_domain_id


@dataclass(frozen=True)
class DoctorSettings:
    """Options of ``python -m ros_nodes.doctor``; those of the graph have its names and defaults.

    Attributes:
        bundle: the policy that is to run; empty leaves out what depends on it.
        backend: who drives the arm: ``trajectory_topic`` (controllers of franka_ros2) or ``franky`` (libfranka from here).
        robot_address: the arm's, when this machine talks to it itself; empty leaves the arm alone.
        require_realtime: whether the franky backend is to insist on a real-time kernel.
        hand: whether a Franka Hand is mounted.
        robot: table of the arm file; empty takes the file's choice.
        cameras: whether ``camera_node`` is to open the cameras; false where another driver publishes them.
        cameras_file, nodes_file, arm_file: empty takes the package's own.
        provider: of the inference, ``cpu`` or ``cuda``.
        joint_states_topic, arm_topic, gripper_topic: as in the graph.
        gripper: how franka_ros2's gripper is driven, ``trajectory`` or ``action``.
        gripper_action: name of that action.
        robot_state_topic: where franka_ros2 says the arm's mode and errors.
        controller_manager: name of the node that lists the controllers.
        domain_id: domain of the robot.
        listen_s: how long to listen to cameras and joint states.
        image_width, image_height, image_rate_hz, image_s: the image loop.
    """

    bundle: str = ""
    backend: Literal["trajectory_topic", "franky"] = "trajectory_topic"
    robot_address: str = ""
    require_realtime: bool = True
    hand: bool = True
    robot: str = ""
    cameras: bool = True
    cameras_file: str = ""
    nodes_file: str = ""
    arm_file: str = ""
    provider: str = "cpu"
    joint_states_topic: str = topics.JOINT_STATES
    arm_topic: str = topics.ARM_TRAJECTORY
    gripper_topic: str = topics.GRIPPER_TRAJECTORY
    gripper: Literal["trajectory", "action"] = "trajectory"
    gripper_action: str = "franka_gripper/gripper_action"
    robot_state_topic: str = "franka_robot_state_broadcaster/robot_state"
    controller_manager: str = "controller_manager"
    domain_id: int = field(default_factory=default_domain_id)
    listen_s: float = 3.0
    image_width: int = 640
    image_height: int = 480
    image_rate_hz: float = 30.0
    image_s: float = 2.0

    def __post_init__(self) -> None:
        for name in ("listen_s", "image_rate_hz", "image_s", "image_width", "image_height"):
            if not 0 < getattr(self, name) <= 10_000:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: give a positive number, at most 10000")

    def file(self, name: str) -> Path:
        """The path of ``cameras``, ``nodes`` or ``arm``: the chosen file, else the package's own."""
        chosen = getattr(self, f"{name}_file")
        return Path(chosen) if chosen else resource(f"config/{name}.yaml")

    @property
    def arm_controller(self) -> str:
        """Name of the controller that the arm's topic belongs to, e.g. ``fr3_arm_controller``."""
        return self.arm_topic.strip("/").rpartition("/")[0]
