"""A robot and camera of a few lines: publishes what a real one would and collects what it is told."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from policy_server.runtime.clock import NS_PER_MS
from ros_nodes import messages, qos, topics
from ros_nodes.lifecycle import leave_domain
from tests.synthetic_bundle import JOINTS

READY = (0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785, 0.02)
PATIENCE_S = 20.0
REPEAT_S = 2.0

_COLLECTED = {
    topics.POLICY_CONTEXT: (Image, qos.POLICY_CONTEXT),
    topics.ACTION_CHUNK: (JointTrajectory, qos.ACTION_CHUNK),
    topics.ARM_TRAJECTORY: (JointTrajectory, qos.JOINT_TRAJECTORY),
    topics.GRIPPER_TRAJECTORY: (JointTrajectory, qos.JOINT_TRAJECTORY),
    topics.DIAGNOSTICS: (DiagnosticArray, qos.DIAGNOSTICS),
    topics.TIMING: (DiagnosticArray, qos.TIMING),
}


class FakeRobot:
    """Publishes images, joint states and the clock on demand; keeps every message of the graph by topic."""

    def __init__(self, domain_id: int, cameras: Sequence[str] = ("front",)) -> None:
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain_id, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node("fake_robot", context=self._context)
        self.received: dict[str, list[Any]] = defaultdict(list)
        self._images = {
            name: self.node.create_publisher(Image, topics.camera_image(name), qos.CAMERA_IMAGE) for name in cameras
        }
        self._joint_states = self.node.create_publisher(JointState, topics.JOINT_STATES, qos.JOINT_STATES)
        self._clock = self.node.create_publisher(Clock, "/clock", 10)
        for topic, (message_type, profile) in _COLLECTED.items():
            self.node.create_subscription(message_type, topic, self.received[topic].append, profile)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    @property
    def cameras(self) -> tuple[str, ...]:
        return tuple(self._images)

    def close(self) -> None:
        self._ended.set()
        self._executor.wake()
        self._thread.join()
        self.node.destroy_node()
        self._executor.shutdown()
        del self.node, self._executor, self._images, self._joint_states, self._clock
        leave_domain()
        rclpy.shutdown(context=self._context)

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        """The first truthy answer of ``condition``; fails loudly when none comes."""
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            answer = condition()
            if answer:
                return answer
            time.sleep(0.005)
        raise AssertionError(f"waited in vain for {what}")

    def warm_up(self, nodes: Sequence[str] = ("history_node", "inference_node", "arm_node")) -> None:
        """Lockstep only: tick until the whole graph answers, then reset it.

        DDS tells writer and reader of each other at different times, and what is sent in between is lost.
        """
        for attempt in range(1, 40):
            for node in nodes:
                self.call_reset(node)
            self.tick(attempt * NS_PER_MS)
            if self._answered_within(0.5, attempt * NS_PER_MS):
                break
        else:
            raise AssertionError("the graph never answered")
        for node in nodes:
            self.call_reset(node)

    def _answered_within(self, seconds: float, stamp_ns: int) -> bool:
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            if any(messages.stamp_to_ns(m.header.stamp) >= stamp_ns for m in self.received[topics.ARM_TRAJECTORY]):
                return True
            time.sleep(0.005)
        return False

    def tell_time(self, stamp_ns: int) -> None:
        self._clock.publish(Clock(clock=messages.ns_to_stamp(stamp_ns)))

    def show(self, stamp_ns: int, image: np.ndarray | None = None, camera: str = "front") -> None:
        image = np.full((96, 96, 3), 128, np.uint8) if image is None else image
        self._images[camera].publish(messages.rgb_to_image(image, stamp_ns, camera))

    def show_message(self, message: Image, camera: str = "front") -> None:
        self._images[camera].publish(message)

    def state_joints(self, stamp_ns: int, positions: Sequence[float] = READY, names: Sequence[str] = JOINTS) -> None:
        message = JointState(name=list(names), position=list(positions))
        message.header.stamp = messages.ns_to_stamp(stamp_ns)
        self._joint_states.publish(message)

    def tick(self, stamp_ns: int, positions: Sequence[float] = READY) -> None:
        """One observation, as the bridge gives it in lockstep."""
        self.tell_time(stamp_ns)
        self.state_joints(stamp_ns, positions)
        self.show(stamp_ns)

    def answer_to(self, stamp_ns: int, topic: str = topics.ARM_TRAJECTORY) -> Any:
        """The first message on ``topic`` that is stamped at or after ``stamp_ns``."""
        return self.wait_for(
            lambda: next((m for m in self.received[topic] if messages.stamp_to_ns(m.header.stamp) >= stamp_ns), None),
            f"an answer to {stamp_ns} ns on {topic}",
        )

    def call_reset(self, node: str) -> Trigger.Response:
        return self.call(Trigger, f"{node}/reset", Trigger.Request(), REPEAT_S)

    def arm(self) -> None:
        """Let the policy move the arm, as an operator does; asked again until the arm is fit for it."""
        self.wait_for(
            lambda: self.call(Trigger, "arm_node/arm", Trigger.Request(), REPEAT_S).success, "the arm to be armed"
        )

    def state_of(self, node: str) -> str:
        return self.call(GetState, f"{node}/get_state", GetState.Request(), REPEAT_S).current_state.label

    def call(self, service_type: Any, name: str, request: Any, repeat_s: float = PATIENCE_S) -> Any:
        """The answer of a service. What may be asked twice is asked again every ``repeat_s``: a server that does not know its
        client yet drops the first answer.
        """
        client = self.node.create_client(service_type, name)
        self.wait_for(client.service_is_ready, f"service {name}")
        begun_s, futures = time.monotonic(), [client.call_async(request)]

        def answer() -> Any:
            if time.monotonic() - begun_s > repeat_s * len(futures):
                futures.append(client.call_async(request))
            return next((future for future in futures if future.done()), None)

        result = self.wait_for(answer, f"an answer of {name}").result()
        self.node.destroy_client(client)
        return result

    def reports_of(self, node: str) -> list[Any]:
        """Every diagnostic status of a node so far."""
        return [s for m in list(self.received[topics.DIAGNOSTICS]) for s in m.status if s.hardware_id == node]

    def wait_for_error(self, node: str) -> str:
        """The message of the first ERROR that a node reports."""
        return self.wait_for(
            lambda: next((s.message for s in self.reports_of(node) if s.level == b"\x02"), None), f"an ERROR of {node}"
        )

    def _spin(self) -> None:
        while not self._ended.is_set():
            self._executor.spin_once(timeout_sec=0.1)  # a wake that comes between two spins is lost


class Streaming:
    """Publishes camera frames and joint states in real time, in a thread, until left."""

    def __init__(self, robot: FakeRobot, rate_hz: float = 10.0, positions: Sequence[float] = READY) -> None:
        self.positions = positions
        self._robot = robot
        self._period_s = 1.0 / rate_hz
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Streaming":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._period_s):
            now_ns = time.time_ns()
            self._robot.state_joints(now_ns, self.positions)
            for camera in self._robot.cameras:
                self._robot.show(now_ns, camera=camera)
