"""The person and the network of a soak: arms and recovers the arm, carries the chunks, loses some on command."""

import threading
import time
from collections import deque
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from ros_nodes import qos, topics
from ros_nodes.lifecycle import leave_domain
from sim_bridge.fr3 import ARM_JOINTS

OFFERED_CHUNKS = "policy/action_chunk_offered"
"""Where inference publishes in a soak; the operator carries it on to ``policy/action_chunk``."""

_KEPT_SAMPLES = 60_000
_ANSWER_S = 10.0
_SERVICES = ("arm", "recover")


class Operator:
    """A ROS node of its own in a thread.

    Attributes:
        loss: share of chunks that are lost from now on.
        delay_s: how much later the others are carried on.
        carried, lost: chunks so far.
        last_chunk_s: when the arm was last given a chunk, by whomever, wall time; 0 before the first.
    """

    def __init__(self, domain_id: int, seed: int) -> None:
        self.loss = 0.0
        self.delay_s = 0.0
        self.carried = 0
        self.lost = 0
        self.last_chunk_s = 0.0
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._speeds: deque[tuple[float, float]] = deque(maxlen=_KEPT_SAMPLES)
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain_id, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("soak_operator", context=self._context)
        self._chunks = self._node.create_publisher(JointTrajectory, topics.ACTION_CHUNK, qos.ACTION_CHUNK)
        self._node.create_subscription(JointTrajectory, OFFERED_CHUNKS, self._carry, qos.ACTION_CHUNK)
        self._node.create_subscription(JointTrajectory, topics.ACTION_CHUNK, self._note_chunk, qos.ACTION_CHUNK)
        self._node.create_subscription(JointState, topics.JOINT_STATES, self._measure, qos.JOINT_STATES)
        self._clients: dict[str, Any] = {
            name: self._node.create_client(Trigger, f"arm_node/{name}") for name in _SERVICES
        }
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="operator", daemon=True)
        self._thread.start()

    def arm(self) -> tuple[bool, str]:
        """Let the next chunk move the arm; whether it may, and what the node says."""
        return self._call("arm")

    def recover(self) -> tuple[bool, str]:
        """Bring the arm back from a fault."""
        return self._call("recover")

    def speeds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Wall times (s) and the fastest joint's speed (rad/s) at them, float64 (n,) each."""
        samples = np.array(list(self._speeds)).reshape(-1, 2)
        return samples[:, 0], samples[:, 1]

    def moved_since(self, time_s: float, speed_rad_s: float) -> bool:
        times_s, speeds = self.speeds()
        return bool((speeds[times_s > time_s] > speed_rad_s).any())

    def close(self) -> None:
        self._ended.set()
        self._executor.wake()
        self._thread.join()
        self._node.destroy_node()
        self._executor.shutdown()
        del self._node, self._executor, self._chunks, self._clients
        leave_domain()
        rclpy.shutdown(context=self._context)

    def _carry(self, message: JointTrajectory) -> None:
        if self._random.random() < self.loss:
            self.lost += 1
            return
        if self.delay_s > 0.0:
            threading.Timer(self.delay_s, self._pass_on, [message]).start()
        else:
            self._pass_on(message)

    def _pass_on(self, message: JointTrajectory) -> None:
        if self._ended.is_set():
            return
        self._chunks.publish(message)
        self.carried += 1

    def _note_chunk(self, _message: JointTrajectory) -> None:
        self.last_chunk_s = time.time()

    def _measure(self, message: JointState) -> None:
        index = {name: row for row, name in enumerate(message.name)}
        speed = max(abs(message.velocity[index[name]]) for name in ARM_JOINTS)
        self._speeds.append((time.time(), speed))

    def _call(self, name: str) -> tuple[bool, str]:
        client = self._clients[name]
        if not client.wait_for_service(_ANSWER_S):
            return False, f"arm_node/{name} is not there"
        done = threading.Event()
        future = client.call_async(Trigger.Request())
        future.add_done_callback(lambda _: done.set())
        if not done.wait(_ANSWER_S):
            return False, f"arm_node/{name} did not answer"
        return bool(future.result().success), str(future.result().message)

    def _spin(self) -> None:
        while not self._ended.is_set():
            self._executor.spin_once(timeout_sec=0.1)
