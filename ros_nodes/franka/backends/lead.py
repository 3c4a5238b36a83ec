"""At which velocity an arm is led to dense set-points, when it plans its own way from one velocity to the next."""

from dataclasses import dataclass

import numpy as np

from policy_server.runtime.clock import ns_to_seconds
from ros_nodes.franka.limits import FloatArray, JointLimits
from ros_nodes.franka.set_points import SetPoints

ARM_JOINTS = 7


@dataclass(frozen=True)
class LeadSettings:
    """How the arm is led.

    Attributes:
        lookahead_ns: the velocity is that of the set-points so far ahead, to be reached by then.
        correction_s: an error of position is made good in about this time.
        catch_up_share: of the velocity that the robot allows at its position; errors are made good no faster.
        velocity_share: of that velocity; nothing is faster.
    """

    lookahead_ns: int
    correction_s: float
    catch_up_share: float
    velocity_share: float


@dataclass(frozen=True)
class Lead:
    """What to do next.

    Attributes:
        velocity_rad_s: float64 (7,), to be reached ``duration_s`` from now; if nothing else is said, brake after it.
        duration_s: how long the way to that velocity takes.
    """

    velocity_rad_s: FloatArray
    duration_s: float


def motion_at(points: SetPoints, time_ns: int) -> tuple[FloatArray, FloatArray]:
    """Positions and velocities, float64 (joints,) each, at a time: cubic between the points, at rest outside of them."""
    times_ns = points.times_ns
    if time_ns >= times_ns[-1] or time_ns <= times_ns[0]:
        row = -1 if time_ns >= times_ns[-1] else 0
        velocity = points.velocities[0] if time_ns == times_ns[0] else np.zeros_like(points.velocities[0])
        return points.positions[row], velocity
    right = int(np.searchsorted(times_ns, time_ns, side="right"))
    left = right - 1
    span_s = ns_to_seconds(int(times_ns[right] - times_ns[left]))
    share = ns_to_seconds(int(time_ns - times_ns[left])) / span_s
    start, end = points.positions[left], points.positions[right]
    start_velocity, end_velocity = points.velocities[left] * span_s, points.velocities[right] * span_s
    # Hermite's cubic: start, its velocity, and the two coefficients that meet the end and its velocity.
    square = 3.0 * (end - start) - 2.0 * start_velocity - end_velocity
    cube = start_velocity + end_velocity - 2.0 * (end - start)
    position = start + share * (start_velocity + share * (square + share * cube))
    velocity = (start_velocity + share * (2.0 * square + 3.0 * share * cube)) / span_s
    return position, velocity


def lead_from(
    points: SetPoints, now_ns: int, commanded_rad: FloatArray, limits: JointLimits, settings: LeadSettings
) -> Lead:
    """How to lead the arm, which is commanded to ``commanded_rad``, float64 (7,), at the moment.

    The velocity of the set-points, ``lookahead_ns`` ahead, plus what makes good the error of position. An arm that lags
    (a stalled process, a robot that was held up) comes back along the straight line, no faster than ``catch_up_share``.
    """
    due = _first_joints(motion_at(points, max(now_ns, int(points.times_ns[0])))[0])
    ahead = _first_joints(motion_at(points, now_ns + settings.lookahead_ns)[1])
    error = due - commanded_rad
    wanted = error / settings.correction_s
    reach = settings.catch_up_share * _allowed_speed(commanded_rad, wanted, limits)
    slowest = float(np.min(np.minimum(1.0, reach / np.maximum(np.abs(wanted), 1e-9))))
    velocity = ahead + slowest * wanted
    fastest = settings.velocity_share * _allowed_speed(commanded_rad, velocity, limits)
    velocity *= float(np.min(np.minimum(1.0, fastest / np.maximum(np.abs(velocity), 1e-9))))
    return Lead(velocity, ns_to_seconds(settings.lookahead_ns))


def _first_joints(values: FloatArray) -> FloatArray:
    return values[:ARM_JOINTS]


def _allowed_speed(position_rad: FloatArray, direction: FloatArray, limits: JointLimits) -> FloatArray:
    """What the robot allows at a position in a direction, float64 (7,), rad/s."""
    padded = np.append(position_rad, np.zeros(len(limits.joints) - ARM_JOINTS))
    towards = np.where(
        direction >= 0.0,
        _first_joints(limits.envelope.towards_upper(padded)),
        _first_joints(limits.envelope.towards_lower(padded)),
    )
    return np.minimum(towards, _first_joints(limits.velocity))
