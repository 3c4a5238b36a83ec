"""Where the arm's frames are: forward kinematics of FR3 and Panda in plain floats, a few microseconds per pose.

The table is Franka's (Craig's convention): a = 0 0 0 .0825 -.0825 0 .088 m, d = .333 0 .316 0 .384 0 0 m,
alpha = 0 -pi/2 pi/2 pi/2 -pi/2 pi/2 pi/2; the flange lies .107 m along z7, the hand is turned by -45 degrees about it.
With alphas of 0 and a quarter turn each step is two products per axis, so no matrices are multiplied.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, sin, sqrt

Vector = tuple[float, float, float]

SHOULDER_M = 0.333
UPPER_ARM_M = 0.316
ELBOW_M = 0.0825
FOREARM_M = 0.384
WRIST_M = 0.088
FLANGE_M = 0.107
TCP_M = 0.1034
"""From the flange to the point between the closed fingertips."""

_DIAGONAL = sqrt(0.5)


@dataclass(frozen=True, slots=True)
class ArmPose:
    """Points of the arm in the base frame, m, and the hand's axes, unit vectors.

    Attributes:
        shoulder: crossing of axes 1 and 2.
        shoulder_axis: axis 2, unit vector; likewise ``elbow_axis``, axis 4.
        elbow_inner: end of the upper arm, on axis 3.
        elbow: on axis 4, the elbow's offset away from it.
        forearm: on axis 5, where the forearm begins.
        forearm_y: unit vector to the side on which the forearm bulges.
        forearm_z: unit vector along axis 5.
        wrist: crossing of axes 5 and 6.
        hand_base: on axis 7, the wrist's offset away from it.
        flange: where the hand is mounted.
        tcp: tool centre point.
        hand_y: the direction in which the fingers open.
        hand_z: the direction in which the fingers point.
    """

    shoulder: Vector
    shoulder_axis: Vector
    elbow_inner: Vector
    elbow: Vector
    elbow_axis: Vector
    forearm: Vector
    forearm_y: Vector
    forearm_z: Vector
    wrist: Vector
    hand_base: Vector
    flange: Vector
    tcp: Vector
    hand_y: Vector
    hand_z: Vector


def arm_pose(joints_rad: Sequence[float]) -> ArmPose:
    """The pose at seven joint angles, rad; what comes after them is not read."""
    q1, q2, q3, q4, q5, q6, q7 = joints_rad[:7]
    # Each axis turns x and y of the frame before it; a quarter turn of alpha then makes its z the frame's -y or y.
    x, y, z = (cos(q1), sin(q1), 0.0), (-sin(q1), cos(q1), 0.0), (0.0, 0.0, 1.0)
    shoulder = (0.0, 0.0, SHOULDER_M)
    shoulder_axis = y
    x, y, z = _turned(x, _minus(z), y, q2)
    x, y, z = _turned(x, z, _minus(y), q3)
    elbow_inner = _along(shoulder, z, UPPER_ARM_M)
    elbow = _along(elbow_inner, x, ELBOW_M)
    x, y, z = _turned(x, z, _minus(y), q4)
    elbow_axis = z
    forearm = _along(elbow, x, -ELBOW_M)
    x, y, z = _turned(x, _minus(z), y, q5)
    forearm_y, forearm_z = y, z
    wrist = _along(forearm, z, FOREARM_M)
    x, y, z = _turned(x, z, _minus(y), q6)
    hand_base = _along(wrist, x, WRIST_M)
    x, y, z = _turned(x, z, _minus(y), q7)
    flange = _along(hand_base, z, FLANGE_M)
    # Turned by -45 degrees about z.
    hand_y = (_DIAGONAL * (x[0] + y[0]), _DIAGONAL * (x[1] + y[1]), _DIAGONAL * (x[2] + y[2]))
    return ArmPose(
        shoulder,
        shoulder_axis,
        elbow_inner,
        elbow,
        elbow_axis,
        forearm,
        forearm_y,
        forearm_z,
        wrist,
        hand_base,
        flange,
        _along(flange, z, TCP_M),
        hand_y,
        z,
    )


def _turned(x: Vector, y: Vector, z: Vector, angle_rad: float) -> tuple[Vector, Vector, Vector]:
    c, s = cos(angle_rad), sin(angle_rad)
    return (
        (c * x[0] + s * y[0], c * x[1] + s * y[1], c * x[2] + s * y[2]),
        (c * y[0] - s * x[0], c * y[1] - s * x[1], c * y[2] - s * x[2]),
        z,
    )


def _along(point: Vector, direction: Vector, distance_m: float) -> Vector:
    return (
        point[0] + distance_m * direction[0],
        point[1] + distance_m * direction[1],
        point[2] + distance_m * direction[2],
    )


def _minus(v: Vector) -> Vector:
    return -v[0], -v[1], -v[2]
