"""Quality of service of every topic: the one place that both ends take it from."""

from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy


def _best_effort(depth: int) -> QoSProfile:
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=QoSReliabilityPolicy.BEST_EFFORT,
        durability=QoSDurabilityPolicy.VOLATILE,
    )


def _reliable(depth: int) -> QoSProfile:
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=QoSReliabilityPolicy.RELIABLE,
        durability=QoSDurabilityPolicy.VOLATILE,
    )


CAMERA_IMAGE = _best_effort(depth=1)
# The reader's own queue: after a stall the memory catches up on frames instead of losing ticks.
CAMERA_IMAGE_IN_ORDER = _best_effort(depth=8)
CLOCK = _best_effort(depth=1)
# Deep enough for a tick of states at the robot's fastest rate, so that a busy moment loses none.
JOINT_STATES = _best_effort(depth=100)
POLICY_CONTEXT = _reliable(depth=1)
ACTION_CHUNK = _reliable(depth=1)
DEAD_MAN = _best_effort(depth=1)
JOINT_TRAJECTORY = _reliable(depth=1)
DIAGNOSTICS = _reliable(depth=10)
# Reliable, so that a lost report is not taken for a lost tick.
TIMING = _reliable(depth=100)
