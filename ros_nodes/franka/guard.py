"""The guard: between whatever a policy answers and what the arm is told."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.clock import ns_to_seconds
from policy_server.runtime.errors import PolicyError
from ros_nodes.franka.chunk_checks import (
    NO_STEPS_LEFT,
    NOT_LATCHED,
    OUT_OF_ORDER,
    REASONS,
    ChunkRefused,
    check_stamp,
    clamped_to_limits,
    ordered_positions,
)
from ros_nodes.franka.joint_path import JointPath
from ros_nodes.franka.limits import FloatArray
from ros_nodes.franka.motion_planner import MotionPlanner
from ros_nodes.franka.set_points import JointMotion, SetPoints
from ros_nodes.franka.settings import GuardSettings

__all__ = ["ChunkRefused", "Guard", "LatchError", "SetPoints"]

UNLATCHED = "unlatched"
HOLDING = "holding"
RUNNING = "running"
STOPPING = "stopping"


class LatchError(PolicyError):
    """The guard cannot take over from where the arm stands."""


@dataclass(frozen=True)
class _Arrival:
    accepted_ns: int
    stamp_ns: int
    steps: JointPath


class Guard:
    """Follows the newest chunk by absolute time with limited velocity, acceleration and jerk; stops when none comes.

    The guard works open loop: it starts where it was latched and from then on knows only its own set-points. These lie
    on a fixed grid, the multiples of the set-point period, and each is computed exactly once, in order, from the chunks
    that were accepted before its time. So the set-points do not depend on how the calls of ``advance`` are cut, and a
    late call brings more of them, never a jump.

    Attributes:
        state: "unlatched", "holding" (at rest), "running" (following a chunk) or "stopping".
        reason: why the guard is in its state, one line.
        counters: accepted chunks, refused ones per reason, clamped ones, stops, set-points with a joint held back.
    """

    def __init__(self, settings: GuardSettings) -> None:
        self._settings = settings
        self._planner = MotionPlanner(settings)
        self.counters = dict.fromkeys(("accepted", *REASONS, "clamped", "watchdog_stops", "chunks_ended", "limited"), 0)
        self.unlatch()

    @property
    def joints(self) -> tuple[str, ...]:
        """Names in column order."""
        return self._settings.limits.joints

    @property
    def positions(self) -> FloatArray:
        """The newest set-point, float64 (joints,), rad and m."""
        return self._motion.position.copy()

    @property
    def time_ns(self) -> int:
        """Time of the newest set-point."""
        return self._time_ns

    def unlatch(self) -> None:
        """Let go: no set-points and no chunks until the next latch."""
        self._enter(UNLATCHED, "not latched to the arm's position yet")
        self._time_ns = 0
        self._motion = JointMotion.at_rest(np.zeros(len(self._settings.limits.joints)))
        self._arrivals: deque[_Arrival] = deque()
        self._current: _Arrival | None = None
        self._path = JointPath([0], self._motion.position[None])

    def latch(self, positions: FloatArray, now_ns: int) -> None:
        """Take over at measured joint positions, float (joints,), rad and m, with the arm at rest; then hold there.

        Raises:
            LatchError: another number of joints, or a position that is not finite or outside of the limits.
        """
        measured = np.array(positions, np.float64)
        self._check_latch(measured)
        limits, period_ns = self._settings.limits, self._settings.set_point_period_ns
        self.unlatch()
        self._motion = JointMotion.at_rest(np.clip(measured, limits.position_min, limits.position_max))
        self._time_ns = now_ns // period_ns * period_ns
        self._enter(HOLDING, "latched; no chunk yet")

    def accept(self, chunk: ActionChunk, now_ns: int) -> None:
        """Follow this chunk from the next set-point on.

        Raises:
            ChunkRefused: the chunk is not followed, and does not count for the watchdog; the guard goes on as before.
        """
        try:
            self._accept(chunk, now_ns)
        except ChunkRefused as refusal:
            self.counters[refusal.reason] += 1
            raise
        self.counters["accepted"] += 1

    def advance(self, until_ns: int) -> SetPoints:
        """The set-points after the newest one up to and including ``until_ns``; none while unlatched."""
        times_ns: list[int] = []
        motions: list[JointMotion] = []
        if self.state != UNLATCHED:
            period_ns = self._settings.set_point_period_ns
            for time_ns in range(self._time_ns + period_ns, until_ns + 1, period_ns):
                self._step(time_ns)
                times_ns.append(time_ns)
                motions.append(self._motion)
        return SetPoints.of(times_ns, motions, len(self.joints), self.state)

    def braking_tail(self) -> SetPoints:
        """What would follow the newest set-point if the arm had to stop now; the last one is at rest. Changes nothing.

        Appended to the published set-points it brings the arm to rest even when this process dies.
        """
        times_ns: list[int] = []
        motions: list[JointMotion] = []
        motion, time_ns = self._motion, self._time_ns
        while self.state != UNLATCHED and not (motions and motion.is_at_rest()):
            motion = self._planner.brake(motion)
            time_ns += self._settings.set_point_period_ns
            times_ns.append(time_ns)
            motions.append(motion)
        return SetPoints.of(times_ns, motions, len(self.joints), self.state)

    def _accept(self, chunk: ActionChunk, now_ns: int) -> None:
        if self.state == UNLATCHED:
            raise ChunkRefused(NOT_LATCHED, "the guard is not latched: give it the arm's joint positions first")
        positions = ordered_positions(chunk, self._settings.limits)
        check_stamp(chunk, now_ns, self._settings)
        newest = self._arrivals[-1] if self._arrivals else self._current
        if newest is not None and chunk.stamp_ns < newest.stamp_ns:
            behind_s = ns_to_seconds(newest.stamp_ns - chunk.stamp_ns)
            raise ChunkRefused(
                OUT_OF_ORDER, f"chunk is stamped {behind_s:.3f} s before the newest one: stamps must not fall"
            )
        times_ns = chunk.times_ns().tolist()
        if not times_ns or times_ns[-1] <= max(now_ns, self._time_ns):
            raise ChunkRefused(
                NO_STEPS_LEFT, f"all {len(times_ns)} steps of the chunk have passed: the policy is too slow"
            )
        targets = clamped_to_limits(positions, self._settings)
        self.counters["clamped"] += int((targets != positions).any())
        accepted_ns = now_ns if newest is None else max(now_ns, newest.accepted_ns)
        self._arrivals.append(_Arrival(accepted_ns, chunk.stamp_ns, JointPath(times_ns, targets)))

    def _step(self, time_ns: int) -> None:
        """Compute the set-point at ``time_ns``, one period after the newest one."""
        while self._arrivals and self._arrivals[0].accepted_ns < time_ns:
            self._follow(self._arrivals.popleft())
        if self.state == RUNNING:
            self._stop_when_overdue(time_ns)
        if self.state == RUNNING:
            step = self._planner.chase(self._motion, *self._path.at(time_ns))
            self.counters["limited"] += int(step.limited.any())
            self._motion = step.motion
        elif self.state == STOPPING:
            self._motion = self._planner.brake(self._motion)
            if self._motion.is_at_rest():
                self._enter(HOLDING, self.reason)
        self._time_ns = time_ns

    def _follow(self, arrival: _Arrival) -> None:
        """Lead from where the target is now straight to the first step that is still to come."""
        start = self._path.at(self._time_ns)[0] if self.state == RUNNING else self._motion.position
        self._current = arrival
        first = int(np.searchsorted(arrival.steps.times_ns, self._time_ns, side="right"))
        times_ns = [self._time_ns, *arrival.steps.times_ns[first:]]
        self._path = JointPath(times_ns, np.vstack([start, arrival.steps.positions[first:]]))
        self._enter(RUNNING, "following the newest chunk")

    def _stop_when_overdue(self, time_ns: int) -> None:
        assert self._current is not None
        if time_ns - self._current.accepted_ns > self._settings.watchdog_ns:
            self.counters["watchdog_stops"] += 1
            limit_s = ns_to_seconds(self._settings.watchdog_ns)
            self._enter(STOPPING, f"watchdog: no chunk for {limit_s:.2f} s; check the inference node")
        elif time_ns > self._path.end_ns:
            self.counters["chunks_ended"] += 1
            self._enter(STOPPING, "the newest chunk has no steps left; check the inference node's rate")

    def _enter(self, state: str, reason: str) -> None:
        self.state = state
        self.reason = reason

    def _check_latch(self, measured: FloatArray) -> None:
        limits = self._settings.limits
        if measured.shape != limits.position_min.shape:
            raise LatchError(
                f"cannot latch to positions of shape {measured.shape}: give one per joint, {', '.join(self.joints)}"
            )
        low = limits.position_min - self._settings.latch_tolerance
        high = limits.position_max + self._settings.latch_tolerance
        for joint, value, minimum, maximum in zip(self.joints, measured, low, high, strict=True):
            if not minimum <= value <= maximum:  # also true of NaN
                raise LatchError(
                    f"{joint} is at {value:.4f}, outside of [{minimum:.4f}, {maximum:.4f}]: move the arm back inside"
                )
