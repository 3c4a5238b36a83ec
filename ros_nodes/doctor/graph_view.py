"""What was seen on the robot's domain while listening for a moment. Plain data, so that the checks need no ROS."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ImageArrival:
    """One picture: its stamp, when it arrived (both wall clock), and its form."""

    stamp_ns: int
    received_ns: int
    width: int
    height: int
    encoding: str = "rgb8"


@dataclass(frozen=True)
class JointArrival:
    """One joint state: its stamp, when it arrived, and positions by name (rad, m)."""

    stamp_ns: int
    received_ns: int
    positions: Mapping[str, float]


@dataclass(frozen=True)
class Controller:
    """A controller of the controller manager, e.g. ``fr3_arm_controller``, ``active``, ``joint_trajectory_controller/…``."""

    name: str
    state: str
    kind: str


@dataclass(frozen=True)
class GraphView:
    """A moment on a domain.

    Attributes:
        nodes: names of all nodes but this command's own.
        publishers, subscribers: topic -> names of the nodes at that end, for the topics that were asked about.
        services: names of all services, those of actions among them.
        images: camera name -> its pictures, in order of arrival.
        joint_states: in order of arrival.
        controllers: what the controller manager lists; None when it does not answer or cannot be understood.
        arm_parameters: parameters of the arm's controller, e.g. ``joints``; empty when it does not answer.
    """

    nodes: tuple[str, ...] = ()
    publishers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    subscribers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    services: tuple[str, ...] = ()
    images: Mapping[str, tuple[ImageArrival, ...]] = field(default_factory=dict)
    joint_states: tuple[JointArrival, ...] = ()
    controllers: tuple[Controller, ...] | None = None
    arm_parameters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
