"""Standard ROS messages to and from the project's arrays. Numeric fields are filled through ``array.array``.

The generated setters copy an ``array.array`` in one go but walk any other sequence element by element, which costs a
hundred milliseconds per camera frame.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from numpy.typing import NDArray
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.clock import NS_PER_S
from policy_server.runtime.errors import ObservationError
from policy_server.runtime.history import Context
from ros_nodes.errors import MessageError

_CHANNELS = {"rgb8": 3, "bgr8": 3, "mono8": 1}
CONTEXT_ENCODING = "32FC1"


@dataclass(frozen=True)
class JointTargets:
    """Joint positions over time, as a trajectory message holds them.

    Attributes:
        stamp_ns: the header's stamp.
        joints: names in column order.
        times_ns: absolute time of each row, int64 (n,), rising.
        positions: float64 (n, joints), rad and m.
        velocities: float64 (n, joints), rad/s and m/s; None when the message has none.
    """

    stamp_ns: int
    joints: tuple[str, ...]
    times_ns: NDArray[np.int64]
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64] | None = None


def stamp_to_ns(stamp: Time) -> int:
    return int(stamp.sec) * NS_PER_S + int(stamp.nanosec)


def ns_to_stamp(stamp_ns: int) -> Time:
    return Time(sec=stamp_ns // NS_PER_S, nanosec=stamp_ns % NS_PER_S)


def image_to_rgb(message: Image, camera: str) -> NDArray[np.uint8]:
    """A camera frame as uint8 (height, width, 3) RGB; a view of the message where its layout allows.

    Raises:
        ObservationError: another encoding than rgb8, bgr8 or mono8, or fewer bytes than the size asks for.
    """
    channels = _CHANNELS.get(message.encoding)
    if channels is None:
        raise ObservationError(
            f"camera '{camera}' sends encoding '{message.encoding}': set its driver to one of {', '.join(_CHANNELS)}"
        )
    rows = _rows_of(message, bytes_per_row=channels * message.width, source=f"camera '{camera}'")
    pixels = rows.reshape(message.height, message.width, channels)
    if message.encoding == "bgr8":
        return np.ascontiguousarray(pixels[:, :, ::-1])
    if message.encoding == "mono8":
        return np.repeat(pixels, 3, axis=2)
    return pixels


def rgb_to_image(image: NDArray[np.uint8], stamp_ns: int, frame_id: str) -> Image:
    """uint8 (height, width, 3) RGB as a ``rgb8`` message."""
    height, width, channels = image.shape
    message = Image(height=height, width=width, encoding="rgb8", is_bigendian=0, step=channels * width)
    message.header.stamp = ns_to_stamp(stamp_ns)
    message.header.frame_id = frame_id
    message.data = _as_array("B", np.ascontiguousarray(image, np.uint8))
    return message


def context_to_image(context: Context, bundle_hash: str) -> Image:
    """A context as a ``32FC1`` picture of T rows and D columns; ``frame_id`` is the bundle's hash."""
    rows = np.ascontiguousarray(context.rows, "<f4")
    height, width = rows.shape
    message = Image(height=height, width=width, encoding=CONTEXT_ENCODING, is_bigendian=0, step=4 * width)
    message.header.stamp = ns_to_stamp(context.stamp_ns)
    message.header.frame_id = bundle_hash
    message.data = _as_array("B", rows)
    return message


def image_to_context(message: Image) -> tuple[Context, str]:
    """The context in a ``32FC1`` picture and the hash of the bundle that made it.

    Raises:
        ObservationError: another encoding, big-endian numbers, or fewer bytes than the size asks for.
    """
    if message.encoding != CONTEXT_ENCODING or message.is_bigendian:
        order = "big-endian" if message.is_bigendian else "little-endian"
        raise ObservationError(
            f"policy/context has {order} encoding '{message.encoding}', not little-endian {CONTEXT_ENCODING}: "
            "is it published by history_node?"
        )
    rows = _rows_of(message, bytes_per_row=4 * message.width, source="policy/context")
    return Context(stamp_to_ns(message.header.stamp), rows.view("<f4")), message.header.frame_id


def joint_positions(message: JointState, joints: Sequence[str]) -> NDArray[np.float64]:
    """Positions in the order of ``joints``, float64 (joints,), rad and m; extra joints are left out.

    Raises:
        ObservationError: a joint is missing, names and positions differ in number, or a position is not finite.
    """
    if len(message.name) != len(message.position):
        raise ObservationError(
            f"joint_states has {len(message.name)} names and {len(message.position)} positions: check the robot's state publisher"
        )
    by_name = dict(zip(message.name, message.position, strict=True))
    missing = [name for name in joints if name not in by_name]
    if missing:
        raise ObservationError(
            f"joint_states lacks {', '.join(missing)} (has {', '.join(message.name)}): check the robot's joint names"
        )
    positions = np.array([by_name[name] for name in joints], np.float64)
    for name, position in zip(joints, positions, strict=True):
        if not np.isfinite(position):
            raise ObservationError(f"joint_states gives {position} for {name}: check the robot's state publisher")
    return positions


def chunk_to_trajectory(chunk: ActionChunk, bundle_hash: str = "") -> JointTrajectory:
    """An action chunk as a trajectory stamped with the observation it answers; ``frame_id`` is the bundle's hash."""
    message = targets_to_trajectory(
        JointTargets(chunk.stamp_ns, chunk.joints, chunk.times_ns(), chunk.positions.astype(np.float64))
    )
    message.header.frame_id = bundle_hash
    return message


def trajectory_to_chunk(message: JointTrajectory) -> ActionChunk:
    """The action chunk in a trajectory of evenly spaced points.

    Raises:
        MessageError: no points, uneven spacing, or points that do not fit the joint names.
    """
    targets = trajectory_to_targets(message)
    steps_ns = np.diff(targets.times_ns, prepend=targets.stamp_ns)
    if len(steps_ns) == 0 or steps_ns[0] <= 0 or (steps_ns != steps_ns[0]).any():
        raise MessageError(
            f"action chunk steps lie {steps_ns.tolist()} ns apart: they must be one policy period apart, from the stamp on"
        )
    return ActionChunk(targets.stamp_ns, int(steps_ns[0]), targets.joints, targets.positions.astype(np.float32))


def targets_to_trajectory(targets: JointTargets) -> JointTrajectory:
    """Joint targets as a trajectory that starts at their stamp."""
    message = JointTrajectory(joint_names=list(targets.joints))
    message.header.stamp = ns_to_stamp(targets.stamp_ns)
    message.points = [
        JointTrajectoryPoint(positions=_as_array("d", row), time_from_start=_duration(offset_ns))
        for offset_ns, row in zip((targets.times_ns - targets.stamp_ns).tolist(), _rows(targets.positions), strict=True)
    ]
    if targets.velocities is not None:
        for point, row in zip(message.points, _rows(targets.velocities), strict=True):
            point.velocities = _as_array("d", row)
    return message


def trajectory_to_targets(message: JointTrajectory) -> JointTargets:
    """A trajectory as absolute times, positions and, where every point has them, velocities.

    Raises:
        MessageError: a point has another number of positions or velocities than there are joints, or times do not rise.
    """
    joints = tuple(message.joint_names)
    stamp_ns = stamp_to_ns(message.header.stamp)
    offsets_ns = np.array([_duration_ns(point.time_from_start) for point in message.points], np.int64)
    if (np.diff(offsets_ns) <= 0).any():
        raise MessageError(f"trajectory times do not rise: {offsets_ns.tolist()} ns from start")
    positions = _stacked([point.positions for point in message.points], len(joints), "positions")
    has_velocities = bool(message.points) and all(len(point.velocities) for point in message.points)
    velocities = _stacked([p.velocities for p in message.points], len(joints), "velocities") if has_velocities else None
    return JointTargets(stamp_ns, joints, stamp_ns + offsets_ns, positions, velocities)


def _rows(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ascontiguousarray(values, np.float64)


def _stacked(rows: "Sequence[Sequence[float]]", joints: int, what: str) -> NDArray[np.float64]:
    for index, row in enumerate(rows):
        if len(row) != joints:
            raise MessageError(f"trajectory point {index} has {len(row)} {what} for {joints} joints")
    return np.array(rows, np.float64).reshape(len(rows), joints)


def _rows_of(message: Image, bytes_per_row: int, source: str) -> NDArray[np.uint8]:
    """The picture's bytes without row padding, uint8 (height, bytes_per_row), contiguous."""
    data = np.frombuffer(message.data, np.uint8)
    if message.step < bytes_per_row or len(data) < message.step * message.height:
        raise ObservationError(
            f"{source} sends {len(data)} bytes in rows of {message.step} for {message.width} x {message.height} "
            f"{message.encoding}: the picture is incomplete; check its driver"
        )
    rows = data[: message.step * message.height].reshape(message.height, message.step)
    return np.ascontiguousarray(rows[:, :bytes_per_row])


def _as_array(typecode: str, values: NDArray[Any]) -> "array[int] | array[float]":
    filled = array(typecode)
    filled.frombytes(values.data.cast("B"))
    return filled


def _duration(duration_ns: int) -> Duration:
    return Duration(sec=duration_ns // NS_PER_S, nanosec=duration_ns % NS_PER_S)


def _duration_ns(duration: Duration) -> int:
    return int(duration.sec) * NS_PER_S + int(duration.nanosec)
