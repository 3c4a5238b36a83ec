"""Measure the latency of the arm and of the cameras: ``python -m ros_nodes.calibrate --json latencies.json``.

It stands in for the policy: swings one joint through arm_node and its guard, and compares when the joint states and the
pictures show that motion. Run it beside arm_node and the cameras, without inference_node.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from policy_server.runtime.clock import NS_PER_S
from policy_server.runtime.command import run_command, stoppable
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.resources import resource
from ros_nodes import environment, messages, qos, topics
from ros_nodes.calibration_motion import CalibrationMotion
from ros_nodes.delay import Delay, appearance, delay_of
from ros_nodes.errors import GraphError
from ros_nodes.franka.settings import load_guard_settings
from ros_nodes.graph import default_domain_id
from ros_nodes.visitor import Visitor, visit

_PATIENCE_S = 10.0
_CHUNK_PERIOD_S = 0.05
_SETTLE_S = 1.0


@dataclass(frozen=True)
class Latencies:
    """What was measured: of the arm behind its targets, and of each camera behind the joint states."""

    arm: Delay
    cameras: dict[str, Delay]


class Recording:
    """Joint states of one joint, and frames per camera, as they come."""

    def __init__(self, node: Node, joint: str, cameras: tuple[str, ...]) -> None:
        self.newest: JointState | None = None
        self._joint = joint
        self._states: list[tuple[int, float]] = []
        self._frames: dict[str, list[tuple[int, NDArray[np.uint8]]]] = {camera: [] for camera in cameras}
        node.create_subscription(JointState, topics.JOINT_STATES, self._take_state, qos.JOINT_STATES)
        for camera in cameras:
            node.create_subscription(Image, topics.camera_image(camera), self._frame_taker(camera), qos.CAMERA_IMAGE)

    def clear(self) -> None:
        self._states.clear()
        for frames in self._frames.values():
            frames.clear()

    def angles(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Stamps, rising, and the joint's angles, rad."""
        states = sorted(dict(self._states).items())
        return np.array([stamp for stamp, _ in states], np.int64), np.array([angle for _, angle in states])

    def film(self, camera: str) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Stamps and frames, uint8 (n, height, width, 3). Raises GraphError when there are none."""
        frames = self._frames[camera]
        if not frames:
            raise GraphError(
                f"camera '{camera}' sent no frame during the motion: is {topics.camera_image(camera)} there?"
            )
        return np.array([stamp for stamp, _ in frames], np.int64), np.stack([image for _, image in frames])

    def _take_state(self, message: JointState) -> None:
        if self._joint in message.name:
            self.newest = message
            angle = float(message.position[list(message.name).index(self._joint)])
            self._states.append((messages.stamp_to_ns(message.header.stamp), angle))

    def _frame_taker(self, camera: str) -> Callable[[Image], None]:
        def take(message: Image) -> None:
            image = messages.image_to_rgb(message, camera)
            small = image[:: max(1, image.shape[0] // 96), :: max(1, image.shape[1] // 96)]
            self._frames[camera].append((messages.stamp_to_ns(message.header.stamp), small.copy()))

        return take


def main() -> int:
    arguments = _parse()
    environment.prepare_process()
    settings = load_guard_settings(arguments.arm_file or resource("config/arm.yaml"), arguments.robot or None)
    joints = settings.limits.joints
    with visit(default_domain_id(), "calibrate") as visitor:
        cameras = tuple(arguments.cameras) if arguments.cameras is not None else _cameras_on(visitor)
        joint = joints[arguments.joint - 1]
        latencies = measure(visitor, joints, joint, cameras, arguments.amplitude, arguments.duration)
    if latencies is None:
        print("stopped; nothing was measured")
        return 1
    _show(latencies)
    arguments.json.write_text(json.dumps(asdict(latencies), indent=1) + "\n", encoding="utf-8")
    print(f"results are in {arguments.json}")
    return 0


def measure(
    visitor: Visitor,
    joints: tuple[str, ...],
    joint: str,
    cameras: tuple[str, ...],
    amplitude_rad: float,
    duration_s: float,
) -> Latencies | None:
    """Swing the joint and look; None when stopped before the end. Whatever happens, the arm is paused again.

    Raises:
        GraphError: arm_node is not there or refuses, inference_node is there, nothing measures the arm, or a camera is silent.
        DelayError: a signal does not follow the arm.
    """
    recording = Recording(visitor.node, joint, cameras)
    chunks = visitor.node.create_publisher(JointTrajectory, topics.ACTION_CHUNK, qos.ACTION_CHUNK)
    _await(
        visitor, lambda: chunks.get_subscription_count() > 0, "no arm_node reads policy/action_chunk: start it first"
    )
    if visitor.node.count_publishers(topics.ACTION_CHUNK) > 1:
        raise GraphError("somebody else sends action chunks: stop inference_node while the latencies are measured")
    _await(
        visitor, lambda: recording.newest is not None, f"no joint state names {joint}: is the robot's driver running?"
    )
    with stoppable() as stopped, _armed(visitor):
        motion = _motion(recording, joints, joint, amplitude_rad, duration_s)
        recording.clear()
        finished = _swing(visitor, chunks, motion, stopped)
    return _latencies(recording, motion, cameras) if finished else None


@contextmanager
def _armed(visitor: Visitor) -> Iterator[None]:
    """The arm armed within, and paused at the end. A pause that fails after something else did is not told: what was first is."""
    try:
        _command(visitor, "arm")
        yield
    except BaseException:
        with suppress(GraphError):
            _command(visitor, "pause")
        raise
    _command(visitor, "pause")


def _motion(
    recording: Recording, joints: tuple[str, ...], joint: str, amplitude_rad: float, duration_s: float
) -> CalibrationMotion:
    assert recording.newest is not None
    found = messages.joint_positions(recording.newest, joints)
    start_ns = time.time_ns() + round(0.5 * NS_PER_S)
    return CalibrationMotion(start_ns, duration_s, joints, found, joints.index(joint), amplitude_rad)


def _swing(visitor: Visitor, chunks: Any, motion: CalibrationMotion, stopped: Callable[[], bool]) -> bool:
    """Send the motion as chunks until a moment after its end; False when stopped."""
    end_ns, shown_s = motion.end_ns + round(_SETTLE_S * NS_PER_S), -1
    while (now_ns := time.time_ns()) < end_ns and not stopped():
        chunks.publish(messages.chunk_to_trajectory(motion.chunk(now_ns), "calibration"))
        left_s = (end_ns - now_ns) // NS_PER_S
        if left_s != shown_s:
            shown_s = left_s
            print(f"\rthe arm swings: {left_s:3d} s left ", end="", flush=True)
        visitor.turn(_CHUNK_PERIOD_S)
    print()
    return not stopped()


def _latencies(recording: Recording, motion: CalibrationMotion, cameras: tuple[str, ...]) -> Latencies:
    plan_ns = np.arange(motion.start_ns - NS_PER_S, motion.end_ns + NS_PER_S, NS_PER_S // 200, dtype=np.int64)
    measured_ns, angles = recording.angles()
    arm = delay_of("the arm", measured_ns, angles[:, None], plan_ns, motion.angle(plan_ns))
    found = {}
    for camera in cameras:
        stamps_ns, frames = recording.film(camera)
        found[camera] = delay_of(f"camera '{camera}'", stamps_ns, appearance(frames), measured_ns, angles)
    return Latencies(arm, found)


def _command(visitor: Visitor, name: str) -> None:
    """Ask arm_node; every command here may be given twice. Raises GraphError."""
    answer = visitor.ask(Trigger, f"arm_node/{name}", Trigger.Request(), _PATIENCE_S)
    if answer is None:
        raise GraphError(
            f"arm_node/{name} does not answer within {_PATIENCE_S:.0f} s: is arm_node running? See its log"
        )
    if not answer.success:
        raise GraphError(f"arm_node/{name}: {answer.message}")


def _await(visitor: Visitor, condition: Callable[[], bool], complaint: str) -> None:
    if not visitor.turn(_PATIENCE_S, condition):
        raise GraphError(f"{complaint} (waited {_PATIENCE_S:.0f} s)")


def _cameras_on(visitor: Visitor) -> tuple[str, ...]:
    """Cameras that publish on this domain, after a moment in which they can be discovered."""
    visitor.turn(1.0)
    found = []
    for name, types in visitor.node.get_topic_names_and_types():
        parts = name.strip("/").split("/")
        if "sensor_msgs/msg/Image" in types and parts[-3:-2] == ["camera"] and parts[-1] == "image_raw":
            found.append(parts[-2])
    return tuple(sorted(found))


def _show(latencies: Latencies) -> None:
    arm = latencies.arm
    print(f"arm     {arm.delay_s * 1e3:6.1f} ms behind its targets (agreement {arm.agreement:.3f})")
    print(f"        in the arm file: arm_latency_s: {max(0.0, arm.delay_s):.3f}, added to what is set there now")
    for camera, delay in latencies.cameras.items():
        print(
            f"camera  {delay.delay_s * 1e3:6.1f} ms behind the joint states: {camera} (agreement {delay.agreement:.3f})"
        )
        print(f"        in the cameras file: latency_s: {max(0.0, delay.delay_s):.3f}, added to what is set there now")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ros_nodes.calibrate",
        description="Measure how late the arm and the cameras are: swings one joint through arm_node, without inference_node. "
        "Clear the arm's surroundings first.",
        epilog="example: python -m ros_nodes.calibrate --joint 1 --json latencies.json",
    )
    parser.add_argument("--joint", type=int, default=1, choices=range(1, 8), help="which joint swings (default 1)")
    parser.add_argument(
        "--amplitude",
        type=float,
        default=0.12,
        help="how far it swings to either side, rad, 0.02 to 0.3 (default 0.12)",
    )
    parser.add_argument("--duration", type=float, default=12.0, help="seconds, 5 to 60 (default 12)")
    parser.add_argument("--cameras", nargs="*", help="their names (default: all that publish)")
    parser.add_argument("--robot", default="", help="which limits of the arm file (default: the file's choice)")
    parser.add_argument("--arm-file", default="", help="the arm's settings (default: the package's config/arm.yaml)")
    parser.add_argument("--json", type=Path, default=Path("latencies.json"), help="write the figures here")
    arguments = parser.parse_args()
    for name, low, high in (("amplitude", 0.02, 0.3), ("duration", 5.0, 60.0)):
        if not low <= getattr(arguments, name) <= high:
            raise ConfigurationError(f"--{name} is {getattr(arguments, name)}: give {low} to {high}")
    return arguments


if __name__ == "__main__":
    sys.exit(run_command(main))
