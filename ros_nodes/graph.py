"""The one description of the graph: which nodes run in each scenario, with which parameters and remappings.

Two starters read it: ``ros_nodes.start`` runs the nodes as processes, ``launch/*.launch.py`` turn them into ``ros2 launch``
actions. Neither holds a second copy.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from policy_server.runtime.configuration import build
from policy_server.runtime.resources import resource
from ros_nodes.environment import domain_id_of, graph_environment
from ros_nodes.errors import GraphError

ParameterValue = bool | int | float | str
Clock = Literal["lockstep", "real"]
OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True)
class NodeSpec:
    """One node: a Python module that is run with ROS arguments.

    ``ends_run`` marks the node whose exit with status 0 is the graph's normal end.
    """

    name: str
    module: str
    parameters_files: tuple[Path, ...] = ()
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    ends_run: bool = False


@dataclass(frozen=True)
class Graph:
    """Nodes that run together on one domain, and the variables their processes have beyond the starter's."""

    nodes: tuple[NodeSpec, ...]
    domain_id: int
    environment: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.nodes)


def default_domain_id() -> int:
    """``ROS_DOMAIN_ID`` where it is set, else 0. Raises RosEnvironmentError when it is not a number."""
    return domain_id_of(os.environ)


@dataclass(frozen=True)
class SimOptions:
    """The graph against MuJoCo. Empty files mean the package's own, ``replan_every_ticks`` and ``candidates`` 0 the bundle's.

    ``shift``: name of a shifted world, or empty. ``adapters``: files of adapters, separated by commas; ``adapter``: name of
    the one to begin with, empty for the base policy.
    """

    bundle: str
    task: str
    episodes: int = 5
    seed: int = 0
    clock: Clock = "lockstep"
    output_dir: str = "runs/sim"
    provider: str = "cpu"
    threads: int = 1
    replan_every_ticks: int = 0
    candidates: int = 0
    domain_id: int = field(default_factory=default_domain_id)
    nodes_file: str = ""
    arm_file: str = ""
    shift: str = ""
    adapters: str = ""
    adapter: str = ""


@dataclass(frozen=True)
class RobotOptions:
    """The graph on a robot. ``cameras`` false leaves the images to other camera drivers. Empty files mean the package's
    own, ``replan_every_ticks`` and ``candidates`` 0 the bundle's.

    ``backend``: ``trajectory_topic`` beside ``franka_ros2``, or ``franky``, which needs ``robot_address`` and nothing else.
    ``gripper``: ``trajectory`` or ``action``, with the trajectory topic. ``adapters`` and ``adapter``: as in simulation.
    """

    bundle: str
    cameras: bool = True
    cameras_file: str = ""
    provider: str = "cpu"
    threads: int = 1
    replan_every_ticks: int = 0
    candidates: int = 0
    robot: str = "fr3"
    joint_states_topic: str = "joint_states"
    arm_topic: str = "fr3_arm_controller/joint_trajectory"
    gripper_topic: str = "gripper_controller/joint_trajectory"
    backend: str = "trajectory_topic"
    robot_address: str = ""
    gripper: str = "trajectory"
    require_realtime: bool = True
    domain_id: int = field(default_factory=default_domain_id)
    nodes_file: str = ""
    arm_file: str = ""
    adapters: str = ""
    adapter: str = ""


@dataclass(frozen=True)
class RobotSimOptions:
    """The graph with the franky driver against a loopback robot that already runs at ``robot_address``, and MuJoCo's pictures
    of it. ``episodes`` 0 goes on until the run is ended. Empty files mean the package's own, ``replan_every_ticks`` and
    ``candidates`` 0 the bundle's. ``adapters`` and ``adapter``: as in plain simulation.
    """

    bundle: str
    task: str
    robot_address: str = "127.0.0.1"
    episodes: int = 0
    seed: int = 0
    output_dir: str = "runs/robot-sim"
    provider: str = "cpu"
    threads: int = 1
    replan_every_ticks: int = 0
    candidates: int = 0
    domain_id: int = field(default_factory=default_domain_id)
    nodes_file: str = ""
    arm_file: str = ""
    adapters: str = ""
    adapter: str = ""


def options_from(cls: type[OptionsT], values: Mapping[str, Any]) -> OptionsT:
    """Options from named values; raises ConfigurationError for unknown names (with the nearest known one) and wrong types."""
    return build(cls, values, "options")


def sim_graph(options: SimOptions) -> Graph:
    """Bridge, history, inference and arm; the bridge ends the run. Raises GraphError for counts that make no run."""
    if options.episodes < 1:
        raise GraphError(f"episodes is {options.episodes}: ask for at least 1")
    lockstep = options.clock == "lockstep"
    files = (_file(options.nodes_file, "nodes.yaml"),)
    shared: dict[str, ParameterValue] = {"use_sim_time": lockstep, "exit_on_error": True}
    bridge = NodeSpec(
        "bridge_node",
        "sim_bridge.bridge_node",
        files,
        {
            **shared,
            "bundle": options.bundle,
            "task": options.task,
            "shift": options.shift,
            "episodes": options.episodes,
            "seed": options.seed,
            "lockstep": lockstep,
            "output_dir": options.output_dir,
        },
        ends_run=True,
    )
    history = _history(options, files, {**shared, **(_EXACT_STAMPS if lockstep else _PAUSES_BETWEEN_EPISODES)})
    arm = NodeSpec(
        "arm_node",
        "ros_nodes.arm_node",
        files,
        {
            **shared,
            "arm_file": options.arm_file,
            "robot": "fr3",
            "lockstep": lockstep,
            "auto_arm": True,
            "auto_resume": True,
        },
    )
    return _graph((bridge, history, _inference(options, files, shared), arm), options.domain_id)


def robot_graph(options: RobotOptions) -> Graph:
    """Cameras, history, inference and arm, beside the robot's own controllers."""
    files = (_file(options.nodes_file, "nodes.yaml"),)
    joint_states = (("joint_states", options.joint_states_topic),)
    trajectories = (
        ("fr3_arm_controller/joint_trajectory", options.arm_topic),
        ("gripper_controller/joint_trajectory", options.gripper_topic),
    )
    camera = NodeSpec(
        "camera_node",
        "ros_nodes.camera_node",
        files,
        {"cameras_file": str(_file(options.cameras_file, "cameras.yaml"))},
    )
    history = _history(options, files, {}, joint_states)
    arm = NodeSpec(
        "arm_node",
        "ros_nodes.arm_node",
        files,
        {
            "arm_file": options.arm_file,
            "robot": options.robot,
            "backend": options.backend,
            "robot_address": options.robot_address,
            "require_realtime": options.require_realtime,
            "gripper": options.gripper,
        },
        _changed((*joint_states, *trajectories)),
    )
    nodes = (history, _inference(options, files, {}), arm)
    return _graph((camera, *nodes) if options.cameras else nodes, options.domain_id)


def robot_sim_graph(options: RobotSimOptions) -> Graph:
    """Mirror, history, inference and arm; with a number of episodes the mirror ends the run."""
    files = (_file(options.nodes_file, "nodes.yaml"),)
    shared: dict[str, ParameterValue] = {"exit_on_error": True}
    mirror = NodeSpec(
        "mirror_node",
        "sim_bridge.mirror_node",
        files,
        {
            **shared,
            "bundle": options.bundle,
            "task": options.task,
            "episodes": options.episodes,
            "seed": options.seed,
            "output_dir": options.output_dir,
        },
        ends_run=True,
    )
    arm = NodeSpec(
        "arm_node",
        "ros_nodes.arm_node",
        files,
        {
            **shared,
            "arm_file": options.arm_file,
            "robot": "fr3",
            "backend": "franky",
            "robot_address": options.robot_address,
            "require_realtime": False,
            "auto_arm": True,
            "auto_resume": True,
        },
    )
    history = _history(options, files, {**shared, **_ARM_GOES_HOME})
    return _graph((mirror, history, _inference(options, files, shared), arm), options.domain_id)


def command_line(node: NodeSpec) -> list[str]:
    """The command that runs a node as a process."""
    command = [sys.executable, "-m", node.module, *node.arguments, "--ros-args", "-r", f"__node:={node.name}"]
    for file in node.parameters_files:
        command += ["--params-file", str(file)]
    for name, value in node.parameters.items():
        command += ["-p", f"{name}:={_yaml_scalar(value)}"]
    for source, target in node.remappings:
        command += ["-r", f"{source}:={target}"]
    return command


# The bridge stamps a tick's images and joint states alike, so any other pairing would depend on the order of arrival. Simulated
# time stands still while the graph works: nothing goes stale.
_EXACT_STAMPS: Mapping[str, ParameterValue] = {"camera_skew_s": 0.0, "joint_skew_s": 0.0, "stale_after_s": 3600.0}
# In real time the bridge is silent for a moment after each episode, while it writes down what happened.
_PAUSES_BETWEEN_EPISODES: Mapping[str, ParameterValue] = {"stale_after_s": 2.0}

# Between two episodes the arm is led to where they start.
_ARM_GOES_HOME: Mapping[str, ParameterValue] = {"stale_after_s": 30.0}


def _history(
    options: SimOptions | RobotOptions | RobotSimOptions,
    files: tuple[Path, ...],
    parameters: Mapping[str, ParameterValue],
    remappings: tuple[tuple[str, str], ...] = (),
) -> NodeSpec:
    return NodeSpec(
        "history_node", "ros_nodes.history_node", files, {**_policy(options), **parameters}, _changed(remappings)
    )


def _inference(
    options: SimOptions | RobotOptions | RobotSimOptions,
    files: tuple[Path, ...],
    parameters: Mapping[str, ParameterValue],
) -> NodeSpec:
    given: dict[str, ParameterValue] = {
        "replan_every_ticks": options.replan_every_ticks,
        "candidates": options.candidates,
        "adapters": options.adapters,
        "adapter": options.adapter,
    }
    chosen = {name: value for name, value in given.items() if value}
    return NodeSpec("inference_node", "ros_nodes.inference_node", files, {**_policy(options), **chosen, **parameters})


def _policy(options: SimOptions | RobotOptions | RobotSimOptions) -> dict[str, ParameterValue]:
    return {"bundle": options.bundle, "provider": options.provider, "threads": options.threads}


def _graph(nodes: tuple[NodeSpec, ...], domain_id: int) -> Graph:
    return Graph(nodes, domain_id, graph_environment(domain_id))


def _changed(remappings: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((source, target) for source, target in remappings if source != target)


def _file(path: str, default: str) -> Path:
    return Path(path).absolute() if path else resource(f"config/{default}")


def _yaml_scalar(value: ParameterValue) -> str:
    """A value as ROS reads it from the command line; text is quoted, so that '12' stays text."""
    return json.dumps(value)
