"""history_node: camera frames and joint states in, the policy's context out; one encoder pass per tick."""

import threading
import time
from collections import deque
from dataclasses import dataclass

from sensor_msgs.msg import Image, JointState

from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.clock import seconds_to_ns
from policy_server.runtime.errors import StaleInputError
from policy_server.runtime.memory import Memory
from policy_server.runtime.observation import Observation, ObservationAssembler
from ros_nodes import diagnostics, messages, qos, topics
from ros_nodes.bundle_checks import check_topics_carry
from ros_nodes.diagnostics import Report, TimingPublisher
from ros_nodes.lifecycle import ManagedNode, run_node
from ros_nodes.parameters import ParameterSpec, required
from ros_nodes.statistics import LatencyWindow, RateMeter
from ros_nodes.worker import Worker

NAME = "history_node"
PARAMETERS = (
    ParameterSpec("bundle", "", "folder of the policy's bundle"),
    ParameterSpec("provider", "cpu", "where the encoder runs: cpu or cuda"),
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
)
_FRESHNESS_CHECK_S = 0.1


@dataclass(frozen=True)
class _Arrival:
    received_ns: int
    source: str
    message: Image | JointState


class HistoryNode(ManagedNode):
    """Feeds the observation assembler and the memory, and publishes each context."""

    def __init__(self) -> None:
        super().__init__(NAME, PARAMETERS)

    def open(self) -> None:
        bundle = load_bundle(required(self.values, "bundle"))
        check_topics_carry(bundle)
        values = self.values
        self._bundle = bundle
        self._assembler = ObservationAssembler(
            bundle.spec,
            camera_skew_ns=seconds_to_ns(values["camera_skew_s"]),
            joint_skew_ns=seconds_to_ns(values["joint_skew_s"]),
        )
        max_gap_ns = seconds_to_ns(values["max_gap_s"])
        self._memory = Memory(bundle, provider=values["provider"], threads=values["threads"], max_gap_ns=max_gap_ns)
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

    def start(self) -> None:
        self._forget()
        self._worker = Worker("history", self._work, self.fail)
        self._worker.start()
        for camera in self._bundle.spec.cameras:
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
        return [Report("observations", level, self._stale, values)]

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
        context = self._memory.observe(observation)
        self._newest = messages.context_to_image(context, self._bundle.hash)
        self._context_publisher.publish(self._newest)
        published_ns = time.time_ns()
        self._observations.tick(published_ns)
        self._latencies.add(published_ns - received_ns)
        self._timing.publish(context.stamp_ns, received_ns, published_ns, self._memory.last_network_ns)

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
            self._memory.clear()
            self._newest = None

    def _reset(self) -> None:
        # Frames of the last episode that are still on their way must not open the new one's memory.
        self._forget(self.get_clock().now().nanoseconds)


def main() -> int:
    return run_node(NAME, HistoryNode)


if __name__ == "__main__":
    raise SystemExit(main())
