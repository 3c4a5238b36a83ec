"""arm_node: action chunks in, guarded trajectories out. A process of its own, so that no policy can pass the guard."""

import threading
import time
from dataclasses import dataclass

from rclpy.duration import Duration
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.clock import seconds_to_ns
from policy_server.runtime.resources import resource
from ros_nodes import diagnostics, messages, qos, topics
from ros_nodes.command_window import CommandWindow
from ros_nodes.diagnostics import Report, TimingPublisher
from ros_nodes.errors import MessageError
from ros_nodes.franka.guard import ChunkRefused, Guard
from ros_nodes.franka.settings import load_guard_settings
from ros_nodes.latest import Latest
from ros_nodes.lifecycle import ManagedNode, one_line, run_node
from ros_nodes.messages import JointTargets
from ros_nodes.parameters import ParameterSpec
from ros_nodes.statistics import LatencyWindow, RateMeter
from ros_nodes.worker import Worker

NAME = "arm_node"
PARAMETERS = (
    ParameterSpec("arm_file", "", "the guard's limits and watchdog; empty takes the package's config/arm.yaml"),
    ParameterSpec("robot", "", "which limits of the arm file, e.g. fr3; empty takes the file's choice"),
    ParameterSpec("lockstep", False, "answer every chunk with one tick of motion, in the chunk's own time"),
    ParameterSpec("command_period_s", 0.02, "time between two trajectories in real time", minimum=0.002, maximum=0.2),
    ParameterSpec("lookahead_s", 0.04, "how far ahead set-points are fixed in real time", minimum=0.004, maximum=0.5),
    ParameterSpec(
        "latch_tolerance_s", 0.1, "how much older than the chunk the joint states may be at the start", minimum=0.0
    ),
)
_ACKNOWLEDGE_S = 0.2


@dataclass(frozen=True)
class _ArrivedChunk:
    received_ns: int
    chunk: ActionChunk


class ArmNode(ManagedNode):
    """Passes chunks through the guard and publishes what it lets through, gripper first."""

    def __init__(self) -> None:
        super().__init__(NAME, PARAMETERS)
        self._at_rest_ns = 0

    def open(self) -> None:
        values = self.values
        self._guard = Guard(
            load_guard_settings(values["arm_file"] or resource("config/arm.yaml"), values["robot"] or None)
        )
        self._window = CommandWindow(len(self._guard.joints))
        self._lookahead_ns = seconds_to_ns(values["lookahead_s"])
        self._latch_tolerance_ns = 0 if values["lockstep"] else seconds_to_ns(values["latch_tolerance_s"])
        self._lock = threading.Lock()
        self._chunk: Latest[_ArrivedChunk] = Latest()
        self._joint_state: JointState | None = None
        self._answered_ns: int | None = None
        self._not_before_ns = 0
        self._refusal = ""
        self._chunks = RateMeter()
        self._latencies = LatencyWindow()
        self._gripper_publisher = self.advertise(JointTrajectory, topics.GRIPPER_TRAJECTORY, qos.JOINT_TRAJECTORY)
        self._arm_publisher = self.advertise(JointTrajectory, topics.ARM_TRAJECTORY, qos.JOINT_TRAJECTORY)
        self._timing = TimingPublisher(self)
        self.serve_reset(self._reset)

    def start(self) -> None:
        self._let_go()
        self._worker = Worker("arm", self._work, self.fail)
        self._worker.start()
        self.subscribe(JointState, topics.JOINT_STATES, qos.JOINT_STATES, self._take_joint_state)
        self.subscribe(JointTrajectory, topics.ACTION_CHUNK, qos.ACTION_CHUNK, self._take_chunk)

    def stop(self) -> None:
        worker = getattr(self, "_worker", None)
        if worker is None:
            return
        worker.stop()
        self._come_to_rest()

    def reports(self) -> list[Report]:
        now_ns = time.time_ns()
        values = {
            "state": self._guard.state,
            "chunks": self._chunks.count,
            "rate_hz": self._chunks.rate_hz(now_ns),
            "age_s": self._chunks.age_s(now_ns),
            **self._latencies.percentiles_ms(),
            **self._guard.counters,
        }
        calm = self._guard.state == "running" and not self._refusal
        level = diagnostics.OK if calm else diagnostics.WARN
        return [Report("guard", level, self._refusal or self._guard.reason, values)]

    def _take_joint_state(self, message: JointState) -> None:
        self._joint_state = message
        if self._chunk:
            self._worker.wake()

    def _take_chunk(self, message: JointTrajectory) -> None:
        received_ns = time.time_ns()
        try:
            chunk = messages.trajectory_to_chunk(message)
        except MessageError as error:
            self._refuse(error)
            return
        self._chunk.put(_ArrivedChunk(received_ns, chunk))
        self._worker.wake()

    def _work(self) -> float | None:
        with self._lock:
            arrived = self._next_chunk()
            if self.values["lockstep"]:
                if arrived is not None:
                    stamp_ns = arrived.chunk.stamp_ns
                    self._command(arrived, stamp_ns, stamp_ns + arrived.chunk.period_ns)
                return None
            now_ns = self.get_clock().now().nanoseconds
            if self._guard.state != "unlatched":
                self._command(arrived, now_ns, now_ns + self._lookahead_ns)
            return float(self.values["command_period_s"])

    def _next_chunk(self) -> _ArrivedChunk | None:
        """The chunk to follow next; it stays where it is while the guard still waits for the arm's position."""
        arrived = self._chunk.take()
        if arrived is None or arrived.chunk.stamp_ns < self._not_before_ns:
            return None
        if self._guard.state == "unlatched" and not self._latch(arrived.chunk):
            self._chunk.put_back(arrived)
            return None
        return arrived

    def _latch(self, chunk: ActionChunk) -> bool:
        """Take over where the arm stands, once a joint state is recent enough to say so.

        What was published before a reset still brings the arm to rest; only then does its position say where it stands.
        """
        message = self._joint_state
        earliest_ns = max(chunk.stamp_ns - self._latch_tolerance_ns, self._at_rest_ns)
        if message is None or messages.stamp_to_ns(message.header.stamp) < earliest_ns:
            return False
        positions = messages.joint_positions(message, self._guard.joints)
        now_ns = chunk.stamp_ns if self.values["lockstep"] else self.get_clock().now().nanoseconds
        self._guard.latch(positions, now_ns)
        self._window.clear()
        return True

    def _command(self, arrived: _ArrivedChunk | None, now_ns: int, until_ns: int) -> None:
        """Publish the motion from ``now_ns`` on: known set-points until ``until_ns``, then the braking tail.

        A chunk that comes again, because its answer was lost, gets the same answer again.
        """
        if arrived is not None and arrived.chunk.stamp_ns != self._answered_ns:
            self._answered_ns = arrived.chunk.stamp_ns
            self._accept(arrived.chunk, now_ns)
        self._window.extend(self._guard.advance(until_ns))
        self._publish(now_ns)
        if arrived is not None:
            published_ns = time.time_ns()
            self._chunks.tick(published_ns)
            self._latencies.add(published_ns - arrived.received_ns)
            self._timing.publish(arrived.chunk.stamp_ns, arrived.received_ns, published_ns, network_ns=0)

    def _accept(self, chunk: ActionChunk, now_ns: int) -> None:
        try:
            self._guard.accept(chunk, now_ns)
            self._refusal = ""
        except ChunkRefused as refusal:
            self._refuse(refusal)

    def _refuse(self, error: ChunkRefused | MessageError) -> None:
        refusal = f"chunk refused: {one_line(error)}"
        if not self._refusal:
            self.get_logger().warning(refusal)
        self._refusal = refusal

    def _publish(self, now_ns: int) -> None:
        self._window.drop_until(now_ns)
        times_ns, positions, velocities = self._window.with_tail(self._guard.braking_tail())
        # In lockstep nothing moves between episodes.
        self._at_rest_ns = 0 if self.values["lockstep"] else int(times_ns[-1])
        joints = self._guard.joints
        for publisher, columns in ((self._gripper_publisher, slice(-1, None)), (self._arm_publisher, slice(0, -1))):
            targets = JointTargets(now_ns, joints[columns], times_ns, positions[:, columns], velocities[:, columns])
            publisher.publish(messages.targets_to_trajectory(targets))

    def _come_to_rest(self) -> None:
        """The last word to the controllers: what is fixed already, then the braking tail."""
        if self._guard.state == "unlatched":
            return
        now_ns = self._guard.time_ns if self.values["lockstep"] else self.get_clock().now().nanoseconds
        self._publish(now_ns)
        self._guard.unlatch()
        for publisher in (self._gripper_publisher, self._arm_publisher):
            publisher.wait_for_all_acked(Duration(seconds=_ACKNOWLEDGE_S))

    def _let_go(self, not_before_ns: int = 0) -> None:
        """Wait for a chunk stamped at or after ``not_before_ns`` and for the arm's position."""
        with self._lock:
            self._not_before_ns = not_before_ns
            self._chunk.take()
            self._joint_state = None
            self._answered_ns = None
            self._refusal = ""
            self._guard.unlatch()
            self._window.clear()

    def _reset(self) -> None:
        self._let_go(self.get_clock().now().nanoseconds)


def main() -> int:
    return run_node(NAME, ArmNode)


if __name__ == "__main__":
    raise SystemExit(main())
