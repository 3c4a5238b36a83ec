"""The arm and its hand as capsules: what may touch neither the table nor itself. Sizes in m.

A capsule is all that lies within a radius of a segment. They cover the links of FR3 and Panda, which have one shape; what
a tool or a cable adds, they do not know.
"""

from math import dist, sqrt

from ros_nodes.franka.kinematics import ArmPose, Vector

Capsule = tuple[Vector, Vector, float]
Sphere = tuple[Vector, float]

(FOOT, COLUMN, SHOULDER, UPPER_ARM, ELBOW, FOREARM, BULGE, WRIST, FLANGE, HAND, FINGERS) = range(11)
Pair = tuple[int, int]

BASE_PAIRS: tuple[Pair, ...] = tuple(
    (fixed, moving) for moving in range(FINGERS, FOREARM - 1, -1) for fixed in (SHOULDER, COLUMN, FOOT)
)
UPPER_ARM_PAIRS: tuple[Pair, ...] = (
    *((UPPER_ARM, moving) for moving in range(BULGE, FINGERS + 1)),
    *((ELBOW, moving) for moving in (FLANGE, HAND, FINGERS)),
)
"""Which capsules may come near each other. Neighbours touch by construction, and joint limits keep the rest apart: the hand
comes to the forearm only at the very end of joint 6."""

# How far a point of the arm moves at most, per rad of each joint and per m of the finger: in space, up and down, seen from the
# base, which is round about axis 1, and seen from the upper arm.
REACH_M = (1.10, 1.10, 0.90, 0.80, 0.40, 0.38, 0.14, 1.0)
REACH_UP_M = (0.0, *REACH_M[1:])
REACH_FROM_BASE_M = (0.0, *REACH_M[1:])
REACH_FROM_UPPER_ARM_M = (0.0, 0.0, *REACH_M[2:])

_LOW = (ELBOW, FOREARM, BULGE, WRIST, FLANGE, HAND, FINGERS)
_SIDE_M = 0.055  # half of the length of the shoulder's and the elbow's housing
_HAND_HALF_WIDTH_M = 0.07
_HAND_DEPTH_M = 0.032
_FINGERTIP_DEPTH_M = 0.0984  # with its radius: 0.1122 m from flange to the fingertips' ends
_FINGER_HALF_WIDTH_M = 0.0065


def capsules(pose: ArmPose, finger_m: float) -> tuple[Capsule, ...]:
    """The arm at a pose, each finger ``finger_m`` away from the middle; in the order of the names above."""
    shoulder_side = _scaled(pose.shoulder_axis, _SIDE_M)
    elbow_side = _scaled(pose.elbow_axis, _SIDE_M)
    hand_side = _scaled(pose.hand_y, _HAND_HALF_WIDTH_M)
    finger_side = _scaled(pose.hand_y, finger_m + _FINGER_HALF_WIDTH_M)
    palm = _sum(pose.flange, _scaled(pose.hand_z, _HAND_DEPTH_M))
    tips = _sum(pose.flange, _scaled(pose.hand_z, _FINGERTIP_DEPTH_M))
    bulge = _sum(pose.wrist, _scaled(pose.forearm_y, 0.06))
    return (
        ((0.0, 0.0, 0.02), (0.0, 0.0, 0.03), 0.16),
        ((0.0, 0.0, 0.05), (0.0, 0.0, 0.30), 0.065),
        (_difference(pose.shoulder, shoulder_side), _sum(pose.shoulder, shoulder_side), 0.06),
        (pose.shoulder, pose.elbow_inner, 0.06),
        (_difference(pose.elbow, elbow_side), _sum(pose.elbow, elbow_side), 0.055),
        (pose.forearm, pose.wrist, 0.052),
        (_sum(bulge, _scaled(pose.forearm_z, -0.13)), _sum(bulge, _scaled(pose.forearm_z, -0.02)), 0.042),
        (pose.wrist, pose.hand_base, 0.048),
        (pose.hand_base, pose.flange, 0.045),
        (_difference(palm, hand_side), _sum(palm, hand_side), 0.038),
        (_difference(tips, finger_side), _sum(tips, finger_side), 0.0138),
    )


def lowest_m(shape: tuple[Capsule, ...]) -> float:
    """Height of the lowest point of what moves, base frame."""
    return min(min(shape[index][0][2], shape[index][1][2]) - shape[index][2] for index in _LOW)


def spheres(shape: tuple[Capsule, ...]) -> list[Sphere]:
    """Middle and radius of a sphere around each capsule."""
    return [
        (((a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0, (a[2] + b[2]) / 2.0), dist(a, b) / 2.0 + radius)
        for a, b, radius in shape
    ]


def clearance_m(shape: tuple[Capsule, ...], around: list[Sphere], pairs: tuple[Pair, ...]) -> float:
    """The smallest distance between two parts, negative where they overlap; ``around`` holds the parts' spheres."""
    nearest = float("inf")
    for one, other in pairs:
        (middle_1, radius_1), (middle_2, radius_2) = around[one], around[other]
        # Two parts are at least as far apart as their spheres: often that is enough.
        if dist(middle_1, middle_2) - radius_1 - radius_2 < nearest:
            first, second = shape[one], shape[other]
            distance = segment_distance_m(first[0], first[1], second[0], second[1]) - first[2] - second[2]
            nearest = min(nearest, distance)
    return nearest


def segment_distance_m(a: Vector, b: Vector, c: Vector, d: Vector) -> float:
    """Distance between the segments a-b and c-d (Ericson, Real-Time Collision Detection, 5.1.9)."""
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = d[0] - c[0], d[1] - c[1], d[2] - c[2]
    rx, ry, rz = a[0] - c[0], a[1] - c[1], a[2] - c[2]
    uu, vv, uv = ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz, ux * vx + uy * vy + uz * vz
    ur, vr = ux * rx + uy * ry + uz * rz, vx * rx + vy * ry + vz * rz
    denominator = uu * vv - uv * uv
    s = _unit((uv * vr - ur * vv) / denominator) if denominator > 1e-12 else 0.0
    t = _unit((uv * s + vr) / vv)
    s = _unit((uv * t - ur) / uu)
    dx, dy, dz = rx + s * ux - t * vx, ry + s * uy - t * vy, rz + s * uz - t * vz
    return sqrt(dx * dx + dy * dy + dz * dz)


def _unit(value: float) -> float:
    return 0.0 if value < 0.0 else 1.0 if value > 1.0 else value


def _scaled(v: Vector, factor: float) -> Vector:
    return factor * v[0], factor * v[1], factor * v[2]


def _sum(v: Vector, w: Vector) -> Vector:
    return v[0] + w[0], v[1] + w[1], v[2] + w[2]


def _difference(v: Vector, w: Vector) -> Vector:
    return v[0] - w[0], v[1] - w[1], v[2] - w[2]
