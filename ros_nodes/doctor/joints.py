"""Joint states: the names of this robot, inside its limits, often and fresh enough for the policy."""

from collections.abc import Sequence

from ros_nodes.doctor.finding import Finding, fail, ok, warn
from ros_nodes.doctor.graph_view import JointArrival
from ros_nodes.doctor.stamps import Stream, check_stamps
from ros_nodes.franka.limits import JointLimits

_OLDEST_MS = 50.0


def check_joint_states(
    arrivals: Sequence[JointArrival], limits: JointLimits, topic: str, needed: bool, skew_s: float
) -> list[Finding]:
    """``needed``: whether the robot is meant to run now; ``skew_s``: how far from a frame a joint state may lie."""
    name = "joint states"
    if len(arrivals) < 2:
        complain = fail if needed else warn
        mend = f"start the robot's driver; look at the topic's name ({topic}) and the domain"
        return [complain(name, f"{len(arrivals) or 'none'} on {topic}", mend)]
    stream = Stream(tuple(a.stamp_ns for a in arrivals), tuple(a.received_ns for a in arrivals))
    return [
        _names(arrivals[-1], limits),
        _positions(arrivals[-1], limits),
        _pace(stream, skew_s),
        check_stamps(name, stream, _OLDEST_MS),
    ]


def _names(arrival: JointArrival, limits: JointLimits) -> Finding:
    name = "joint states: names"
    missing = [joint for joint in limits.joints if joint not in arrival.positions]
    if missing:
        return fail(
            name,
            f"{', '.join(missing)} missing (there: {', '.join(arrival.positions)})",
            "another robot's table (robot=fr3 or fer), or another topic; a missing finger: start the gripper",
        )
    return ok(name, f"{limits.joints[0]} … {limits.joints[-1]}")


def _positions(arrival: JointArrival, limits: JointLimits) -> Finding:
    name = "joint states: positions"
    present = [index for index, joint in enumerate(limits.joints) if joint in arrival.positions]
    values = [arrival.positions[limits.joints[index]] for index in present]
    if values and all(value == 0.0 for value in values):
        return fail(name, "all exactly 0", "nobody measures: no arm stands there; look at the robot's driver")
    for index, value in zip(present, values, strict=True):
        low, high = limits.position_min[index], limits.position_max[index]
        if not low <= value <= high:
            mend = "move the arm back inside by hand (guiding), or look at the robot's driver"
            return fail(name, f"{limits.joints[index]} is at {value:.4f}, outside of [{low:.4f}, {high:.4f}]", mend)
    return ok(name, "inside the limits")


def _pace(stream: Stream, skew_s: float) -> Finding:
    """Every frame needs a joint state within ``skew_s``, so two of them may lie at most twice that apart."""
    name = "joint states: rate"
    found = f"{stream.rate_hz:.1f} Hz, longest gap {stream.longest_gap_ms:.0f} ms"
    if stream.longest_gap_ms <= 2000.0 * skew_s:
        return ok(name, found)
    return fail(
        name,
        f"{found}, at most {2000.0 * skew_s:.0f} ms",
        "raise the publisher's rate (franka_ros2: joint_state_rate), or take its faster topic (joint_states_topic=franka/joint_states)",
    )
