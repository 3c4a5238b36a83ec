"""Errors of the running graph. Each message names the thing, the value and the mend."""

from policy_server.runtime.errors import PolicyError


class RosEnvironmentError(PolicyError):
    """The process environment cannot carry a ROS 2 graph: two ROS installations are mixed, or the domain is unusable."""


class DomainInUseError(RosEnvironmentError):
    """Another graph with our node names runs on the same domain."""


class MessageError(PolicyError):
    """A message cannot be read: its fields do not fit each other."""


class CameraError(PolicyError):
    """A camera is missing, cannot be opened, or gives frames of another size than configured."""


class GraphError(PolicyError):
    """A graph cannot be described or started."""
