"""inference_node: the policy's context in, an action chunk out; one sampler call per chunk."""

import threading
import time

from sensor_msgs.msg import Image
from trajectory_msgs.msg import JointTrajectory

from policy_server.runtime.actor import Actor
from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.errors import BundleError
from policy_server.runtime.history import Context
from ros_nodes import diagnostics, messages, qos, topics
from ros_nodes.diagnostics import Report, TimingPublisher
from ros_nodes.latest import Latest
from ros_nodes.lifecycle import ManagedNode, run_node
from ros_nodes.parameters import ParameterSpec, required
from ros_nodes.statistics import LatencyWindow, RateMeter
from ros_nodes.worker import Worker

NAME = "inference_node"
PARAMETERS = (
    ParameterSpec("bundle", "", "folder of the policy's bundle"),
    ParameterSpec("provider", "cpu", "where the denoiser runs: cpu or cuda"),
    ParameterSpec("threads", 1, "threads of the denoiser", minimum=1, maximum=64),
    ParameterSpec("noise_seed", 0, "seed of the sampler's noise", minimum=0),
    ParameterSpec("replan_every_ticks", 0, "ticks between two fresh chunks; 0 takes the bundle's", minimum=0),
    ParameterSpec(
        "candidates", 0, "chunks drawn per sample, verified by what was executed; 0 takes the bundle's", minimum=0
    ),
)


class InferenceNode(ManagedNode):
    """Answers the newest context with an action chunk."""

    def __init__(self) -> None:
        super().__init__(NAME, PARAMETERS)

    def open(self) -> None:
        values = self.values
        self._bundle = load_bundle(required(values, "bundle"))
        self._actor = Actor(
            self._bundle,
            provider=values["provider"],
            threads=values["threads"],
            noise_seed=values["noise_seed"],
            replan_every_ticks=values["replan_every_ticks"] or None,
            candidates=values["candidates"] or None,
        )
        self._lock = threading.Lock()
        self._newest: Latest[tuple[int, Image]] = Latest()
        self._not_before_ns = 0
        self._chunks = RateMeter()
        self._latencies = LatencyWindow()
        self._skipped = 0
        self._chunk_publisher = self.advertise(JointTrajectory, topics.ACTION_CHUNK, qos.ACTION_CHUNK)
        self._timing = TimingPublisher(self)
        self.serve_reset(self._reset)

    def start(self) -> None:
        self._actor.clear()
        self._worker = Worker("inference", self._work, self.fail)
        self._worker.start()
        self.subscribe(Image, topics.POLICY_CONTEXT, qos.POLICY_CONTEXT, self._take)

    def stop(self) -> None:
        worker = getattr(self, "_worker", None)
        if worker is not None:
            worker.stop()

    def reports(self) -> list[Report]:
        now_ns = time.time_ns()
        values = {
            "chunks": self._chunks.count,
            "skipped_contexts": self._skipped,
            "rate_hz": self._chunks.rate_hz(now_ns),
            "age_s": self._chunks.age_s(now_ns),
            **self._latencies.percentiles_ms(),
        }
        return [
            Report("chunks", diagnostics.OK, "", values),
            Report("verification", diagnostics.OK, "", self._verification_values()),
        ]

    def _verification_values(self) -> dict[str, diagnostics.Value]:
        """How many candidates are drawn; past error of the newest chunk's and how much worse the worst was (no unit, see
        ``verification.past_errors``), none where there was nothing to compare."""
        newest = self._actor.last_verification
        return {
            "candidates": self._actor.schedule.candidates,
            "past_error": f"{newest.error:.2e}" if newest else None,
            "past_error_spread": f"{newest.spread:.2e}" if newest else None,
        }

    def _take(self, message: Image) -> None:
        received_ns = time.time_ns()
        if self._newest.put((received_ns, message)):
            self._skipped += 1
        self._worker.wake()

    def _work(self) -> None:
        with self._lock:
            newest = self._newest.take()
            if newest is None:
                return
            received_ns, message = newest
            context = self._checked_context(message)
            if context.stamp_ns >= self._not_before_ns:
                self._answer(context, received_ns)

    def _checked_context(self, message: Image) -> Context:
        context, bundle_hash = messages.image_to_context(message)
        if bundle_hash != self._bundle.hash:
            raise BundleError(
                f"policy/context comes from bundle {bundle_hash[:12] or '(none)'}, this node runs {self._bundle.hash[:12]} "
                f"('{self._bundle.path}'): give history_node and inference_node the same bundle"
            )
        return context

    def _answer(self, context: Context, received_ns: int) -> None:
        chunk = self._actor.answer(context)
        self._chunk_publisher.publish(messages.chunk_to_trajectory(chunk))
        published_ns = time.time_ns()
        self._chunks.tick(published_ns)
        self._latencies.add(published_ns - received_ns)
        self._timing.publish(context.stamp_ns, received_ns, published_ns, self._actor.last_network_ns)

    def _reset(self) -> None:
        with self._lock:
            self._newest.take()
            self._actor.clear()
            self._not_before_ns = self.get_clock().now().nanoseconds


def main() -> int:
    return run_node(NAME, InferenceNode)


if __name__ == "__main__":
    raise SystemExit(main())
