"""arm_node: action chunks in, guarded trajectories out. A process of its own, so that no policy can pass the guard."""

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.duration import Duration
from rclpy.parameter import Parameter
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.clock import ns_to_seconds, seconds_to_ns
from policy_server.runtime.errors import ConfigurationError, PolicyError
from policy_server.runtime.priority import take_precedence
from policy_server.runtime.resources import resource
from ros_nodes import diagnostics, messages, qos, topics
from ros_nodes.arm_backends import BACKEND_PARAMETERS, FRANKY, open_backend
from ros_nodes.command_schedule import CommandSchedule
from ros_nodes.diagnostics import Report, TimingPublisher
from ros_nodes.errors import MessageError
from ros_nodes.franka.arm_control import ArmControl
from ros_nodes.franka.arm_states import ArmState
from ros_nodes.franka.chunk_checks import ChunkRefused
from ros_nodes.franka.dead_man import DeadMan
from ros_nodes.franka.settings import load_guard_settings
from ros_nodes.latest import Latest
from ros_nodes.lifecycle import ManagedNode, one_line, run_node
from ros_nodes.parameters import ParameterSpec
from ros_nodes.statistics import LatencyWindow, RateMeter
from ros_nodes.worker import Worker

NAME = "arm_node"
NEXT_BUNDLE_HASH = "next_bundle_hash"
PARAMETERS = (
    *BACKEND_PARAMETERS,
    ParameterSpec("arm_file", "", "the guard's limits and watchdog; empty takes the package's config/arm.yaml"),
    ParameterSpec("robot", "", "which limits of the arm file, e.g. fr3; empty takes the file's choice"),
    ParameterSpec("lockstep", False, "answer every chunk with one tick of motion, in the chunk's own time"),
    ParameterSpec("command_period_s", 0.02, "time between two trajectories in real time", minimum=0.002, maximum=0.2),
    ParameterSpec("lookahead_s", 0.04, "how far ahead set-points are fixed in real time", minimum=0.004, maximum=0.5),
    ParameterSpec(
        "realtime_priority",
        20,
        "of the thread that commands set-points, where the system allows it; 0: none",
        minimum=0,
        maximum=90,
    ),
    ParameterSpec(
        "latch_tolerance_s", 0.1, "how much older than the chunk the joint states may be at the start", minimum=0.0
    ),
    ParameterSpec("auto_arm", False, "be armed without a command; for simulation"),
    ParameterSpec("auto_resume", False, "after a silence of the policy the next chunk goes on without a command"),
    ParameterSpec("dead_man", False, "move only while the topic dead_man says true"),
    ParameterSpec("dead_man_timeout_s", 0.2, "longest silence of that topic", minimum=0.0, maximum=2.0),
    ParameterSpec(
        "reset_timeout_s", 2.0, "longest time for history and inference to forget, in a recovery", minimum=0.1
    ),
    ParameterSpec(
        NEXT_BUNDLE_HASH,
        "",
        "hash of a bundle whose chunks may follow those of the present one, once; see python -m ros_nodes.operate swap",
        read_only=False,
    ),
)
_FORGET_SERVICES = ("history_node/reset", "inference_node/reset")
_HASH = re.compile(r"([0-9a-f]{64})?")
_LOOK_AGAIN_S = 0.002
_ACKNOWLEDGE_S = 0.2


@dataclass(frozen=True)
class _ArrivedChunk:
    received_ns: int
    chunk: ActionChunk
    bundle_hash: str


class ArmNode(ManagedNode):
    """Passes chunks through the guard and on to the arm; an operator arms, pauses, stops and recovers it."""

    def __init__(self) -> None:
        super().__init__(NAME, PARAMETERS)
        self._announce: Callable[[str], None] | None = None
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)

    def open(self) -> None:
        values = self.values
        settings = load_guard_settings(values["arm_file"] or resource("config/arm.yaml"), values["robot"] or None)
        self._decided_ns = 0
        # Trajectories are stamped with the moment that they were decided for; libfranka follows the real clock.
        clock_ns = self._now_ns if values["backend"] == FRANKY else lambda: self._decided_ns
        self._link = open_backend(self, values, settings.limits, clock_ns)
        self._control = ArmControl(
            settings,
            self._link.arm,
            auto_arm=values["auto_arm"],
            auto_resume=values["auto_resume"],
            latch_age_ns=0 if values["lockstep"] else seconds_to_ns(values["latch_tolerance_s"]),
            dead_man=DeadMan(seconds_to_ns(values["dead_man_timeout_s"])) if values["dead_man"] else None,
        )
        self._announce = self._control.guard.announce_bundle
        self._schedule = CommandSchedule(seconds_to_ns(values["command_period_s"]))
        self._lookahead_ns = seconds_to_ns(values["lookahead_s"])
        if not values["lockstep"] and self._lookahead_ns < self._schedule.period_ns + settings.set_point_period_ns:
            raise ConfigurationError(
                f"lookahead_s {values['lookahead_s']}: the set-points would end before the next command, {values['command_period_s']} s "
                f"later: make it at least {ns_to_seconds(self._schedule.period_ns + settings.set_point_period_ns):.3f}"
            )
        self._lock = threading.Lock()
        self._chunk: Latest[_ArrivedChunk] = Latest()
        self._answered_ns: int | None = None
        self._unanswered: list[_ArrivedChunk] = []
        self._not_before_ns = 0
        self._complaint = ""
        self._chunks = RateMeter()
        self._latencies = LatencyWindow()
        self._timing = TimingPublisher(self)
        self._worker = self._new_worker()
        self._serve_commands()

    def start(self) -> None:
        self._begin_anew(0)
        self._worker = self._new_worker()
        self._worker.start()
        self._link.listen()
        self.subscribe(JointTrajectory, topics.ACTION_CHUNK, qos.ACTION_CHUNK, self._take_chunk)
        if self.values["dead_man"]:
            self.subscribe(Bool, topics.DEAD_MAN, qos.DEAD_MAN, self._take_dead_man)
        if not self.values["lockstep"] and self.values["backend"] != FRANKY:
            self.subscribe(JointState, topics.JOINT_STATES, qos.JOINT_STATES, self._take_torques)
        # What the arm says of itself is looked at from the start on, not from the first chunk on.
        self._worker.wake()

    def stop(self) -> None:
        worker = getattr(self, "_worker", None)
        if worker is None:
            return
        worker.stop()
        with self._lock:
            now_ns = self._control.guard.time_ns if self.values["lockstep"] else self._now_ns()
            self._decided_ns = now_ns
            self._control.come_to_rest(now_ns)
        for publisher in self.publishers:
            if publisher.msg_type is JointTrajectory:
                publisher.wait_for_all_acked(Duration(seconds=_ACKNOWLEDGE_S))

    def close(self) -> None:
        self._announce = None
        link = getattr(self, "_link", None)
        if link is not None:
            link.arm.close()

    def reports(self) -> list[Report]:
        now_ns = time.time_ns()
        control = self._control
        guard, states, reading = control.guard, control.states, control.reading
        values = {
            "state": guard.state,
            "bundle": guard.bundle_hash[:12] or None,
            "chunks": self._chunks.count,
            "rate_hz": self._chunks.rate_hz(now_ns),
            "age_s": self._chunks.age_s(now_ns),
            **self._latencies.percentiles_ms(),
            **guard.counters,
        }
        complaint = self._complaint or guard.complaint
        calm = guard.state == "running" and not complaint
        arm_values = {
            "mode": reading.mode if reading is not None else None,
            "errors": ", ".join(reading.errors) if reading is not None else None,
            **control.contacts,
        }
        arm_level = {ArmState.RUNNING: diagnostics.OK, ArmState.FAULT: diagnostics.ERROR}
        return [
            Report("guard", diagnostics.OK if calm else diagnostics.WARN, complaint or guard.reason, values),
            Report("arm", arm_level.get(states.state, diagnostics.WARN), f"{states.state}: {states.cause}", arm_values),
        ]

    # --- what arrives -------------------------------------------------------------------------------------------------

    def _take_torques(self, message: JointState) -> None:
        """Measured torques of the arm, where joint states carry them."""
        if len(message.effort) != len(message.name):
            return
        torques = dict(zip(message.name, message.effort, strict=True))
        joints = self._control.guard.joints[:-1]
        if all(joint in torques for joint in joints):
            with self._lock:
                self._control.measure_torques(np.array([torques[joint] for joint in joints], np.float64))

    def _take_chunk(self, message: JointTrajectory) -> None:
        received_ns = time.time_ns()
        try:
            chunk = messages.trajectory_to_chunk(message)
        except MessageError as error:
            self._complain(error)
            return
        self._chunk.put(_ArrivedChunk(received_ns, chunk, message.header.frame_id))
        self._worker.wake()

    def _take_dead_man(self, message: Bool) -> None:
        with self._lock:
            self._control.hear_dead_man(bool(message.data), self._now_ns())

    # --- the worker ---------------------------------------------------------------------------------------------------

    def _new_worker(self) -> Worker:
        return Worker("arm", self._work, self.fail, self._take_precedence)

    def _take_precedence(self) -> None:
        """Let set-points go before everything else on this machine. In lockstep time waits for them."""
        priority = self.values["realtime_priority"]
        if priority == 0 or self.values["lockstep"]:
            return
        refusal = take_precedence(priority)
        if refusal:
            self.get_logger().info(
                f"set-points have no real-time priority ({refusal}) and may be late on a busy machine: see docs/hardware.md"
            )

    def _work(self) -> float | None:
        with self._lock:
            if self.values["lockstep"]:
                return self._answer_in_lockstep()
            now_ns = self._now_ns()
            arrived = self._usable(self._chunk.take(), now_ns)
            if arrived is not None:
                self._take_up(arrived, now_ns)
            wait_ns = self._schedule.wait_ns(now_ns)
            if wait_ns:
                return ns_to_seconds(wait_ns)
            self._decided_ns = now_ns
            self._command(now_ns, now_ns + self._lookahead_ns)
            return ns_to_seconds(self._schedule.pause_ns(self._now_ns()))

    def _answer_in_lockstep(self) -> float | None:
        """One tick of motion for a chunk; without one nothing happens, for time stands still."""
        newest = self._chunk.take()
        if newest is None:
            return None
        stamp_ns = self._decided_ns = newest.chunk.stamp_ns
        arrived = self._usable(newest, stamp_ns)
        if arrived is not None:
            self._take_up(arrived, stamp_ns)
            self._command(stamp_ns, stamp_ns + arrived.chunk.period_ns)
        return _LOOK_AGAIN_S if self._chunk else None

    def _usable(self, arrived: _ArrivedChunk | None, now_ns: int) -> _ArrivedChunk | None:
        """The chunk, where it can be followed now; it waits in its slot while the guard waits for the arm's position."""
        if arrived is None or arrived.chunk.stamp_ns < self._not_before_ns:
            return None
        if not self._control.is_ready_for(arrived.chunk, now_ns):
            self._chunk.put_back(arrived)
            return None
        return arrived

    def _take_up(self, arrived: _ArrivedChunk, now_ns: int) -> None:
        """A chunk that comes again, because its answer was lost, gets the same answer again."""
        if arrived.chunk.stamp_ns != self._answered_ns:
            self._answered_ns = arrived.chunk.stamp_ns
            self._follow(arrived, now_ns)
        self._unanswered.append(arrived)

    def _command(self, now_ns: int, until_ns: int) -> None:
        """Hand on the motion from ``now_ns`` on: known set-points until ``until_ns``, then the braking tail."""
        # In lockstep nothing moves between episodes.
        self._control.advance(now_ns, until_ns, at_rest_ends=not self.values["lockstep"])
        answered, self._unanswered = self._unanswered, []
        for arrived in answered:
            published_ns = time.time_ns()
            self._chunks.tick(published_ns)
            self._latencies.add(published_ns - arrived.received_ns)
            self._timing.publish(arrived.chunk.stamp_ns, arrived.received_ns, published_ns, network_ns=0)

    def _follow(self, arrived: _ArrivedChunk, now_ns: int) -> None:
        try:
            if self._control.follow(arrived.chunk, now_ns, arrived.bundle_hash):
                self._complaint = ""
        except ChunkRefused as refusal:
            self._complain(refusal)

    def _complain(self, error: ChunkRefused | MessageError) -> None:
        complaint = f"chunk refused: {one_line(error)}"
        if not self._complaint:
            self.get_logger().warning(complaint)
        self._complaint = complaint

    # --- the operator -------------------------------------------------------------------------------------------------

    def _serve_commands(self) -> None:
        self.serve_reset(self._reset)
        for name, command in (
            ("arm", lambda: self._control.arm(self._now_ns())),
            ("pause", self._control.pause),
            ("stop", self._control.stop),
        ):
            self.serve(Trigger, f"~/{name}", partial(self._obey, command))
        # Recovering takes seconds, in which the other services must answer.
        recover = self.create_service(Trigger, "~/recover", self._on_recover, callback_group=ReentrantCallbackGroup())
        self._until_closed.append(lambda: self.destroy_service(recover))
        self._forget_clients: dict[str, Any] = {name: self.create_client(Trigger, name) for name in _FORGET_SERVICES}

    def _obey(
        self, command: Callable[[], str], _request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        if self.is_active:
            response.success, response.message = self._tried(command)
            self._worker.wake()
        else:
            response.success, response.message = False, f"{NAME} is not active: activate it first"
        return response

    def _tried(self, command: Callable[[], str]) -> tuple[bool, str]:
        with self._lock:
            self._decided_ns = max(self._decided_ns, self._now_ns())
            try:
                return True, command()
            except PolicyError as error:
                return False, one_line(error)

    async def _on_recover(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        done: Future[tuple[bool, str]] = Future()
        threading.Thread(target=lambda: done.set_result(self._recover()), name="recover", daemon=True).start()
        response.success, response.message = await done  # type: ignore[misc]
        return response

    def _recover(self) -> tuple[bool, str]:
        """First the robot, then what the policy remembers of before, then the arm's own queue and state."""
        ready, message = self._tried(self._control.refuse_recovery)
        if not ready:
            return False, message
        try:
            self._link.arm.recover()
        except PolicyError as error:
            return False, one_line(error)
        if forgetful := self._forget():
            return False, forgetful
        return self._tried(self._recovered)

    def _recovered(self) -> str:
        message = self._control.recovered(self._now_ns())
        self._drop_chunks(self._now_ns())
        return message

    def _forget(self) -> str:
        """Make history and inference forget; returns what went wrong, or "". A node that is not there remembers nothing."""
        for name, client in self._forget_clients.items():
            if not client.service_is_ready():
                continue
            answered = threading.Event()
            client.call_async(Trigger.Request()).add_done_callback(lambda _, answered=answered: answered.set())
            if not answered.wait(self.values["reset_timeout_s"]):
                return f"{name} did not answer within {self.values['reset_timeout_s']} s: see that node's log"
        return ""

    def _check_parameters(self, parameters: Sequence[Parameter[Any]]) -> SetParametersResult:
        for item in parameters:
            if item.name == NEXT_BUNDLE_HASH and not _HASH.fullmatch(item.value):
                return SetParametersResult(
                    successful=False, reason=f"'{item.value}' is no bundle's hash: give its 64 digits, or nothing"
                )
            if item.name == NEXT_BUNDLE_HASH and self._announce is None:
                return SetParametersResult(successful=False, reason="the node is not configured: it follows no bundle")
        return SetParametersResult(successful=True)

    def _apply_parameters(self, parameters: Sequence[Parameter[Any]]) -> None:
        """A bundle is announced: its chunks may follow those of the present one."""
        for item in parameters:
            if item.name == NEXT_BUNDLE_HASH and self._announce is not None:
                with self._lock:
                    self._announce(item.value)

    def _reset(self) -> None:
        self._begin_anew(self._now_ns())

    def _begin_anew(self, not_before_ns: int) -> None:
        """Forget the episode; chunks and joint states from before ``not_before_ns`` do not count."""
        with self._lock:
            self._drop_chunks(not_before_ns)
            self._control.reset(not_before_ns)

    def _drop_chunks(self, not_before_ns: int) -> None:
        self._not_before_ns = not_before_ns
        self._chunk.take()
        self._answered_ns = None
        self._unanswered = []
        self._complaint = ""

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)


def main() -> int:
    return run_node(NAME, ArmNode)


if __name__ == "__main__":
    raise SystemExit(main())
