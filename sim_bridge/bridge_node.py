"""bridge_node: MuJoCo behind the topics of a real robot and its cameras; runs a number of episodes and ends."""

import threading
import time
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.errors import PolicyError
from ros_nodes import messages, qos, topics
from ros_nodes.bundle_checks import check_topics_carry
from ros_nodes.lifecycle import ManagedNode, one_line, run_node
from ros_nodes.parameters import ParameterSpec, required
from sim_bridge.conductor import GraphTimeoutError, RunConfig, conduct
from sim_bridge.episode import check_bundle_fits
from sim_bridge.run_files import TimingFile
from sim_bridge.task_config import load_task_config
from sim_bridge.trajectory_inbox import TrajectoryInbox

NAME = "bridge_node"
PARAMETERS = (
    ParameterSpec("bundle", "", "folder of the policy's bundle; checked against the task before the first episode"),
    ParameterSpec("task", "", "task name, as in config/tasks"),
    ParameterSpec("task_file", "", "cameras and rate of the task; empty takes the package's config/tasks/<task>.yaml"),
    ParameterSpec("shift", "", "a shifted world, as in config/shifts; empty: as it is built"),
    ParameterSpec("episodes", 5, "number of episodes, one per seed", minimum=1),
    ParameterSpec("seed", 0, "seed of the first episode", minimum=0),
    ParameterSpec(
        "lockstep", True, "step only when the graph has answered, and publish /clock; false runs in real time"
    ),
    ParameterSpec("joint_state_hz", 100.0, "rate of joint_states in real time", minimum=10.0, maximum=500.0),
    ParameterSpec(
        "answer_timeout_s", 30.0, "an unanswered tick (lockstep) or a missing node ends the run after this", minimum=1.0
    ),
    ParameterSpec("video", True, "write episodes.mp4"),
    ParameterSpec("output_dir", "runs/sim", "folder for results, timing, traces and video"),
)
_READERS_OF_JOINT_STATES = ("history_node", "arm_node")
_RESET_SERVICES = ("history_node/reset", "inference_node/reset", "arm_node/reset")
_REPEAT_S = 2.0


class BridgeNode(ManagedNode):
    """The world's voice and ears on the graph; the conductor decides what happens when."""

    def __init__(self) -> None:
        super().__init__(NAME, PARAMETERS)

    def open(self) -> None:
        values = self.values
        task = load_task_config(required(values, "task"), values["task_file"] or None, values["shift"])
        bundle = load_bundle(required(values, "bundle"))
        check_topics_carry(bundle)
        check_bundle_fits(bundle, task)
        output = Path(values["output_dir"])
        output.mkdir(parents=True, exist_ok=True)
        self.config = RunConfig(
            task=task,
            seeds=tuple(range(values["seed"], values["seed"] + values["episodes"])),
            lockstep=values["lockstep"],
            joint_state_hz=values["joint_state_hz"],
            answer_timeout_s=values["answer_timeout_s"],
            video=values["video"],
            output=output,
        )
        self.inbox = TrajectoryInbox()
        self.newest_context: Image | None = None
        self._stopping = threading.Event()
        self._timing = TimingFile(output)
        self._clock_publisher = self.advertise(Clock, "/clock", qos.CLOCK)
        self._joint_publisher = self.advertise(JointState, topics.JOINT_STATES, qos.JOINT_STATES)
        self._image_publishers = {
            camera.name: self.advertise(Image, topics.camera_image(camera.name), qos.CAMERA_IMAGE)
            for camera in task.cameras
        }
        self._reset_clients: dict[str, Any] = {name: self.create_client(Trigger, name) for name in _RESET_SERVICES}

    def start(self) -> None:
        self._stopping.clear()
        self.subscribe(
            JointTrajectory, topics.ARM_TRAJECTORY, qos.JOINT_TRAJECTORY, lambda m: self._take_trajectory("arm", m)
        )
        self.subscribe(
            JointTrajectory,
            topics.GRIPPER_TRAJECTORY,
            qos.JOINT_TRAJECTORY,
            lambda m: self._take_trajectory("gripper", m),
        )
        self.subscribe(Image, topics.POLICY_CONTEXT, qos.POLICY_CONTEXT, self._take_context)
        self.subscribe(DiagnosticArray, topics.TIMING, qos.TIMING, self._take_timing)
        self._thread = threading.Thread(target=self._run, name="conductor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        thread = getattr(self, "_thread", None)
        if thread is None:
            return
        self._stopping.set()
        if thread is not threading.current_thread():
            thread.join()

    def close(self) -> None:
        if hasattr(self, "_timing"):
            self._timing.close()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def say(self, line: str) -> None:
        """A line for whoever watches the run."""
        print(line, flush=True)

    def publish_clock(self, stamp_ns: int) -> None:
        self._clock_publisher.publish(Clock(clock=messages.ns_to_stamp(stamp_ns)))

    def publish_joints(self, stamp_ns: int, names: tuple[str, ...], positions: Any) -> None:
        """``positions``: float64 (9,), rad and m."""
        message = JointState(name=list(names), position=positions.tolist())
        message.header.stamp = messages.ns_to_stamp(stamp_ns)
        self._joint_publisher.publish(message)

    def publish_image(self, camera: str, stamp_ns: int, image: Any) -> None:
        """``image``: uint8 (height, width, 3) RGB."""
        self._image_publishers[camera].publish(messages.rgb_to_image(image, stamp_ns, camera))

    def note_capture(self, stamp_ns: int) -> None:
        """Remember when a tick's frames left, in wall time."""
        now_ns = time.time_ns()
        self._timing.add("capture", stamp_ns, now_ns, now_ns, 0)

    def await_readers(self, timeout_s: float) -> None:
        """Wait until the graph hears the bridge, so that no first frame is lost. Raises GraphTimeoutError when it does not."""
        readers = dict.fromkeys(self._image_publishers.values(), 1)
        readers[self._joint_publisher] = len(_READERS_OF_JOINT_STATES)
        deadline_s = time.monotonic() + timeout_s
        while deaf := [publisher for publisher, count in readers.items() if publisher.get_subscription_count() < count]:
            if self.stopping:
                return
            if time.monotonic() > deadline_s:
                raise GraphTimeoutError(
                    f"too few nodes read {', '.join(publisher.topic_name for publisher in deaf)} after {timeout_s:.0f} s: "
                    "are history_node and arm_node active on this domain?"
                )
            time.sleep(0.01)

    def reset_graph(self, timeout_s: float) -> None:
        """Make history, inference and arm forget the episode. Raises GraphTimeoutError when one does not answer."""
        for name, client in self._reset_clients.items():
            if not client.wait_for_service(timeout_s):
                raise GraphTimeoutError(
                    f"service {name} is not there after {timeout_s:.0f} s: is the node running on this domain?"
                )
            # A server that does not know its client yet drops its answer, and to reset twice does no harm.
            attempts = max(1, round(timeout_s / _REPEAT_S))
            if not any(_answered(client.call_async(Trigger.Request()), timeout_s / attempts) for _ in range(attempts)):
                raise GraphTimeoutError(f"service {name} did not answer within {timeout_s:.0f} s: see that node's log")

    def _run(self) -> None:
        try:
            conduct(self, self.config)
        except Exception as error:
            self.fail(error)
            return
        if not self.stopping:
            self.finished.set()

    def _take_trajectory(self, controller: str, message: JointTrajectory) -> None:
        try:
            self.inbox.put(controller, messages.trajectory_to_targets(message))
        except PolicyError as error:
            self.get_logger().warning(f"{controller} trajectory refused: {one_line(error)}")

    def _take_context(self, message: Image) -> None:
        self.newest_context = message

    def _take_timing(self, message: DiagnosticArray) -> None:
        stamp_ns = messages.stamp_to_ns(message.header.stamp)
        for status in message.status:
            values = {item.key: int(item.value) for item in status.values}
            self._timing.add(
                status.hardware_id, stamp_ns, values["received_ns"], values["published_ns"], values["network_ns"]
            )


def _answered(future: Any, timeout_s: float) -> bool:
    """Wait for a service's answer, which the executor's thread receives."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    return done.wait(timeout_s)


def main() -> int:
    return run_node(NAME, BridgeNode)


if __name__ == "__main__":
    raise SystemExit(main())
