"""inference_node: the policy's context in, an action chunk out; one sampler call per chunk."""

import json
import threading
import time
from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from policy_server.runtime.actor import Actor
from policy_server.runtime.actor_relay import ActorRelay
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.continuation import Continuation
from policy_server.runtime.history import Context
from ros_nodes import diagnostics, messages, qos, topics
from ros_nodes.adapter_shelf import AdapterShelf, Plan, files_in
from ros_nodes.diagnostics import Report, TimingPublisher
from ros_nodes.latest import Latest
from ros_nodes.lifecycle import ManagedNode, one_line, run_node
from ros_nodes.parameters import ParameterSpec, required
from ros_nodes.statistics import LatencyWindow, RateMeter
from ros_nodes.swap_port import SWAP_PARAMETERS, SwapPort
from ros_nodes.worker import Worker

NAME = "inference_node"
PARAMETERS = (
    *SWAP_PARAMETERS,
    ParameterSpec("provider", "cpu", "where the denoiser runs: cpu, cuda or tensorrt"),
    ParameterSpec("threads", 1, "threads of the denoiser", minimum=1, maximum=64),
    ParameterSpec("noise_seed", 0, "seed of the sampler's noise", minimum=0),
    ParameterSpec("replan_every_ticks", 0, "ticks between two fresh chunks; 0 takes the bundle's", minimum=0),
    ParameterSpec(
        "candidates", 0, "chunks drawn per sample, verified by what was executed; 0 takes the bundle's", minimum=0
    ),
    ParameterSpec(
        "execution", "latest", "how a fresh chunk continues the standing one: latest (not at all) or real_time_chunking"
    ),
    ParameterSpec(
        "delay_ticks", 0, "policy ticks until a chunk leads the arm, held with real_time_chunking", minimum=0
    ),
    ParameterSpec("warm_start", 0, "denoising steps left out, from the standing chunk on", minimum=0),
    ParameterSpec("adapters", "", "files of the adapters to offer, separated by commas", read_only=False),
    ParameterSpec("adapter", "", "name of the active adapter; empty: the base policy", read_only=False),
)


class InferenceNode(ManagedNode):
    """Answers the newest context with an action chunk.

    The parameters ``adapters`` and ``adapter`` may be set while it runs: a change that does not fit is refused with the reason, one that
    does takes effect with the next chunk that is sampled. Another bundle takes over with the contexts that history_node makes of it.
    """

    def __init__(self) -> None:
        super().__init__(NAME, PARAMETERS)
        self._shelf: AdapterShelf | None = None
        self._plan: tuple[AdapterShelf, Plan] | None = None
        self._swap_port = SwapPort(self)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)

    def open(self) -> None:
        values = self.values
        self._relay = ActorRelay(
            load_bundle(required(values, "bundle")),
            self._make_actor,
            gives_way=values["threads"] == 1,
            on_failure=self.get_logger().error,
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
        shelf = self._new_shelf()
        shelf.apply(shelf.plan(files_in(values["adapters"]), values["adapter"]))
        shelf.wait()
        self._shelf = shelf
        self.serve(Trigger, "~/list_adapters", self._list_adapters)
        self._swap_port.open(self._relay, self._lock)

    def close(self) -> None:
        self._shelf = None
        self._swap_port.close()

    def start(self) -> None:
        self._relay.clear()
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
            self._adapter_report(),
            self._swap_port.report(),
        ]

    def _make_actor(self, bundle: Bundle) -> Actor:
        values = self.values
        return Actor(
            bundle,
            provider=values["provider"],
            threads=values["threads"],
            noise_seed=values["noise_seed"],
            replan_every_ticks=values["replan_every_ticks"] or None,
            candidates=values["candidates"] or None,
            continuation=Continuation(values["execution"], values["delay_ticks"], values["warm_start"]),
        )

    def _new_shelf(self) -> AdapterShelf:
        return AdapterShelf(self._relay.actor.denoiser, self.get_logger().error)

    def _verification_values(self) -> dict[str, diagnostics.Value]:
        """How many candidates are drawn; past error of the newest chunk's and how much worse the worst was (no unit, see
        ``verification.past_errors``), none where there was nothing to compare."""
        actor = self._relay.actor
        newest = actor.last_verification
        return {
            "candidates": actor.schedule.candidates,
            "past_error": f"{newest.error:.2e}" if newest else None,
            "past_error_spread": f"{newest.spread:.2e}" if newest else None,
        }

    def _adapter_report(self) -> Report:
        """Which adapter the next sample is drawn with, and the newest one was; WARN while one that was asked for cannot be had."""
        denoiser = self._relay.actor.denoiser
        offers = self._shelf.offers if self._shelf else {}
        failed = [offer.reason for offer in offers.values() if offer.state == "failed"]
        values = {
            "active": denoiser.active or "base policy",
            "newest_chunk": denoiser.sampled_with or "base policy",
            "loaded": ", ".join(denoiser.loaded) or None,
        }
        return Report("adapters", diagnostics.WARN if failed else diagnostics.OK, "; ".join(failed), values)

    def _check_parameters(self, parameters: Sequence[Parameter[Any]]) -> SetParametersResult:
        """Read and check what would be new on the shelf, before anything changes. A node that is not configured checks later."""
        self._plan = None
        wanted = {item.name: item.value for item in parameters if item.name in ("adapters", "adapter")}
        if wanted and self._shelf is not None:
            given = self.values | wanted
            try:
                self._plan = self._shelf, self._shelf.plan(files_in(given["adapters"]), given["adapter"])
            except Exception as error:  # an exception in here would end the node
                return SetParametersResult(successful=False, reason=one_line(error))
        return SetParametersResult(successful=True)

    def _apply_parameters(self, parameters: Sequence[Parameter[Any]]) -> None:
        self.values |= {item.name: item.value for item in parameters if item.name in ("adapters", "adapter")}
        if self._plan is not None:
            shelf, plan = self._plan
            try:
                shelf.apply(plan)  # a bundle that has taken over in between has a shelf of its own
            except Exception as error:  # an exception in here would end the node
                self.get_logger().error(f"adapters are not changed: {one_line(error)}")
        self._plan = None

    def _list_adapters(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """What is on the shelf, as JSON."""
        response.success = self._shelf is not None
        if self._shelf is not None:
            response.message = json.dumps({"base": self._relay.bundle.hash, **self._shelf.describe()})
        return response

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
            context, bundle_hash = messages.image_to_context(message)
            if context.stamp_ns >= self._not_before_ns:
                self._answer(context, bundle_hash, received_ns)

    def _answer(self, context: Context, bundle_hash: str, received_ns: int) -> None:
        before = self._relay.bundle
        answer = self._relay.answer(context, bundle_hash)
        self._chunk_publisher.publish(messages.chunk_to_trajectory(answer.chunk, answer.bundle_hash))
        published_ns = time.time_ns()
        self._chunks.tick(published_ns)
        self._latencies.add(published_ns - received_ns)
        self._timing.publish(context.stamp_ns, received_ns, published_ns, answer.network_ns)
        if self._relay.bundle is not before:
            self._begin_with_new_bundle()

    def _begin_with_new_bundle(self) -> None:
        """Adapters belong to the bundle that is gone: the new one begins with an empty shelf."""
        dropped = ", ".join(self._shelf.offers) if self._shelf else ""
        self._shelf = self._new_shelf()
        self.get_logger().info(
            self._relay.state.last + (f"; adapters of the old one are dropped: {dropped}" if dropped else "")
        )
        self._swap_port.taken_over(bundle=str(self._relay.bundle.path), adapters="", adapter="")

    def _reset(self) -> None:
        with self._lock:
            self._newest.take()
            self._relay.clear()
            self._not_before_ns = self.get_clock().now().nanoseconds


def main() -> int:
    return run_node(NAME, InferenceNode)


if __name__ == "__main__":
    raise SystemExit(main())
