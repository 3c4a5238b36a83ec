"""history_node: camera frames and joint states in, the policy's context out; one encoder pass per tick."""

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger

from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.clock import ns_to_seconds, seconds_to_ns
from policy_server.runtime.errors import PolicyError, StaleInputError
from policy_server.runtime.memory_relay import MemoryRelay
from policy_server.runtime.observation import Observation, ObservationAssembler
from policy_server.runtime.successor import SwapError
from ros_nodes import diagnostics, messages, qos, topics
from ros_nodes.bundle_checks import check_topics_carry
from ros_nodes.diagnostics import Report, TimingPublisher
from ros_nodes.lifecycle import ManagedNode, one_line, run_node
from ros_nodes.parameters import ParameterSpec, required
from ros_nodes.statistics import LatencyWindow, RateMeter
from ros_nodes.swap_port import STATE_SERVICE, SWAP_PARAMETERS, SwapPort, state_from
from ros_nodes.worker import Worker

NAME = "history_node"
PARAMETERS = (
    *SWAP_PARAMETERS,
    ParameterSpec("provider", "cpu", "where the encoder runs: cpu, cuda or tensorrt"),
    ParameterSpec("threads", 1, "threads of the encoder", minimum=1, maximum=64),
    ParameterSpec(
        "camera_skew_s", 0.02, "largest distance in time of another camera's frame from the first one's", minimum=0.0
    ),
    ParameterSpec("joint_skew_s", 0.05, "largest distance in time of the joint states from the frame", minimum=0.0),
    ParameterSpec(
        "camera_latency_s",
        0.0,
        "how long before their stamps the frames were captured, for drivers that do not say so themselves",
        minimum=0.0,
        maximum=1.0,
    ),
    ParameterSpec("stale_after_s", 0.5, "an input that is silent for longer is reported as stale", minimum=0.01),
    ParameterSpec("max_gap_s", 1.0, "longest time without an observation that the memory bridges", minimum=0.01),
    ParameterSpec(
        "frames_mb",
        512,
        "most MiB of raw frames that are kept so that a new bundle can see what was; 0: none, bundles with cameras cannot be swapped",
        minimum=0,
        maximum=65536,
    ),
)
_FRESHNESS_CHECK_S = 0.1
_INFERENCE_STATE = f"inference_node/{STATE_SERVICE}"
_INFERENCE_ANSWERS_S = 2.0
_MIB = 2**20


@dataclass(frozen=True)
class _Arrival:
    received_ns: int
    source: str
    message: Image | JointState


class HistoryNode(ManagedNode):
    """Feeds the observation assembler and the memory, and publishes each context."""

    def __init__(self) -> None:
        super().__init__(NAME, PARAMETERS)
        self._swap_port = SwapPort(self)

    def open(self) -> None:
        bundle = load_bundle(required(self.values, "bundle"))
        check_topics_carry(bundle)
        values = self.values
        self._assembler = ObservationAssembler(
            bundle.spec,
            camera_skew_ns=seconds_to_ns(values["camera_skew_s"]),
            joint_skew_ns=seconds_to_ns(values["joint_skew_s"]),
        )
        self._relay = MemoryRelay(
            bundle,
            provider=values["provider"],
            threads=values["threads"],
            max_gap_ns=seconds_to_ns(values["max_gap_s"]),
            frames_limit_bytes=values["frames_mb"] * _MIB,
            on_failure=self.get_logger().error,
        )
        self._camera_latency_ns = seconds_to_ns(values["camera_latency_s"])
        self._lock = threading.Lock()
        self._arrivals: deque[_Arrival] = deque()
        self._newest: Image | None = None
        self._not_before_ns = 0
        self._stale = ""
        self._observations = RateMeter()
        self._latencies = LatencyWindow()
        self._context_publisher = self.advertise(Image, topics.POLICY_CONTEXT, qos.POLICY_CONTEXT)
        self._timing = TimingPublisher(self)
        self.serve_reset(self._reset)
        self._swap_port.open(self._relay, self._lock)
        self._serve_swap()

    def close(self) -> None:
        self._swap_port.close()

    def start(self) -> None:
        self._forget()
        self._worker = Worker("history", self._work, self.fail)
        self._worker.start()
        for camera in self._relay.bundle.spec.cameras:
            self._subscribe_camera(camera.name)
        self.subscribe(JointState, topics.JOINT_STATES, qos.JOINT_STATES, lambda message: self._take("", message))

    def stop(self) -> None:
        worker = getattr(self, "_worker", None)
        if worker is not None:
            worker.stop()

    def reports(self) -> list[Report]:
        now_ns = time.time_ns()
        values = {
            "observations": self._observations.count,
            "lost_ticks": self._assembler.lost_ticks,
            "rate_hz": self._observations.rate_hz(now_ns),
            "age_s": self._observations.age_s(now_ns),
            **self._latencies.percentiles_ms(),
        }
        level = diagnostics.ERROR if self._stale else diagnostics.OK
        frames = self._relay.frames
        kept = {"frames": len(frames), "mib": frames.size_bytes / _MIB, "span_s": ns_to_seconds(frames.span_ns)}
        return [
            Report("observations", level, self._stale, values),
            Report("raw frames", diagnostics.OK, "", kept),
            self._swap_port.report(),
        ]

    def _subscribe_camera(self, camera: str) -> None:
        self.subscribe(
            Image, topics.camera_image(camera), qos.CAMERA_IMAGE_IN_ORDER, lambda message: self._take(camera, message)
        )

    def _take(self, camera: str, message: Image | JointState) -> None:
        self._arrivals.append(_Arrival(time.time_ns(), camera, message))
        self._worker.wake()

    def _work(self) -> float:
        with self._lock:
            while self._arrivals:
                arrival = self._arrivals.popleft()
                if messages.stamp_to_ns(arrival.message.header.stamp) >= self._not_before_ns:
                    self._add(arrival)
                    while (observation := self._assembler.pop()) is not None:
                        self._observe(observation, arrival.received_ns)
            self._check_fresh()
        return _FRESHNESS_CHECK_S

    def _add(self, arrival: _Arrival) -> None:
        message = arrival.message
        stamp_ns = messages.stamp_to_ns(message.header.stamp)
        if isinstance(message, JointState):
            self._assembler.add_joints(stamp_ns, message.name, message.position)
            return
        captured_ns = stamp_ns - self._camera_latency_ns
        self._assembler.add_image(arrival.source, captured_ns, messages.image_to_rgb(message, arrival.source))
        if self._newest is not None and captured_ns == messages.stamp_to_ns(self._newest.header.stamp):
            # The frame came again because its answer was lost on the way: give the same answer again.
            self._context_publisher.publish(self._newest)

    def _observe(self, observation: Observation, received_ns: int) -> None:
        before = self._relay.bundle
        context, bundle_hash = self._relay.observe(observation)
        self._newest = messages.context_to_image(context, bundle_hash)
        self._context_publisher.publish(self._newest)
        published_ns = time.time_ns()
        self._observations.tick(published_ns)
        self._latencies.add(published_ns - received_ns)
        self._timing.publish(context.stamp_ns, received_ns, published_ns, self._relay.last_network_ns)
        if self._relay.bundle is not before:
            self.get_logger().info(self._relay.state.last)
            self._swap_port.taken_over(bundle=str(self._relay.bundle.path))

    def _check_fresh(self) -> None:
        """Say once that an input is stale, and once that it is back; the memory itself decides whether the gap is too long."""
        stale, stale_after_ns = "", seconds_to_ns(self.values["stale_after_s"])
        if time.monotonic_ns() - self._began_ns < stale_after_ns:
            return
        try:
            self._assembler.check_fresh(self.get_clock().now().nanoseconds, stale_after_ns)
        except StaleInputError as error:
            stale = str(error)
        if bool(stale) != bool(self._stale):
            self.get_logger().warning(stale or "every input arrives again")
        self._stale = stale

    def _forget(self, not_before_ns: int = 0) -> None:
        """Begin an episode with what is stamped at or after ``not_before_ns``."""
        with self._lock:
            self._began_ns = time.monotonic_ns()
            self._not_before_ns = not_before_ns
            self._arrivals.clear()
            self._assembler.clear()
            self._relay.clear()
            self._newest = None

    def _serve_swap(self) -> None:
        # The answer waits for another node's, and frames must come in meanwhile.
        swap = self.create_service(Trigger, "~/swap", self._on_swap, callback_group=ReentrantCallbackGroup())
        self._until_closed.append(lambda: self.destroy_service(swap))
        self._inference: Any = self.create_client(Trigger, _INFERENCE_STATE)
        self._until_closed.append(lambda: self.destroy_client(self._inference))

    async def _on_swap(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        done: Future[tuple[bool, str]] = Future()
        threading.Thread(target=lambda: done.set_result(self._swap()), name="swap", daemon=True).start()
        response.success, response.message = await done  # type: ignore[misc]
        return response

    def _swap(self) -> tuple[bool, str]:
        """Let the bundle that is ready take over, where inference has it ready too: it must know the next context."""
        try:
            known = self._ready_at_inference()
            with self._lock:
                if known != self._relay.state.hash:
                    raise SwapError(
                        f"inference_node has {known[:12] or 'no bundle'} ready, this node {self._relay.state.hash[:12] or 'none'}: set "
                        "next_bundle of both to the same folder and wait until both are ready"
                    )
                self._relay.take_over()
        except PolicyError as error:
            return False, one_line(error)
        return True, f"{known[:12]} takes over with the next observation"

    def _ready_at_inference(self) -> str:
        """Hash of the bundle that inference_node has ready, or "". Raises SwapError when it does not answer."""
        answered = threading.Event()
        future = self._inference.call_async(Trigger.Request())
        future.add_done_callback(lambda _: answered.set())
        answer = future.result() if answered.wait(_INFERENCE_ANSWERS_S) else None
        if answer is None or not answer.success:
            raise SwapError(
                f"{_INFERENCE_STATE} does not answer within {_INFERENCE_ANSWERS_S:.0f} s: is inference_node active?"
            )
        state = state_from(answer)
        return state.hash if state.stage == "ready" else ""

    def _reset(self) -> None:
        # Frames of the last episode that are still on their way must not open the new one's memory.
        self._forget(self.get_clock().now().nanoseconds)


def main() -> int:
    return run_node(NAME, HistoryNode)


if __name__ == "__main__":
    raise SystemExit(main())
