"""The guard: between whatever a policy answers and what the arm is told."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.clock import NS_PER_MS, ns_to_seconds
from policy_server.runtime.errors import PolicyError
from ros_nodes.franka.blending import blended
from ros_nodes.franka.chunk_checks import (
    NO_STEPS_LEFT,
    NOT_LATCHED,
    OUT_OF_ORDER,
    REASONS,
    ChunkRefused,
    check_bundle,
    check_jumps,
    check_stamp,
    clamped_to_limits,
    ordered_positions,
)
from ros_nodes.franka.joint_path import JointPath
from ros_nodes.franka.keep_out import KEEP_OUT_REASONS, KEEP_OUT_TEXTS
from ros_nodes.franka.limits import FloatArray
from ros_nodes.franka.motion_planner import MotionPlanner
from ros_nodes.franka.set_points import JointMotion, SetPoints
from ros_nodes.franka.settings import GuardSettings

__all__ = ["ChunkRefused", "Guard", "LatchError", "SetPoints"]

UNLATCHED = "unlatched"
HOLDING = "holding"
RUNNING = "running"
STOPPING = "stopping"

_TAIL_SPACING_NS = 10 * NS_PER_MS


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
        kept_out: why the newest set-point does not go where the chunk leads, one of ``KEEP_OUT_REASONS``, or "".
        counters: accepted chunks, refused ones per reason, clamped ones, stops, commands that came so late that the arm was
            braking already, set-points with a joint held back and, per
            reason, those at which the arm was kept out of where it may not be.
    """

    def __init__(self, settings: GuardSettings) -> None:
        self._settings = settings
        self._planner = MotionPlanner(settings)
        counted = ("accepted", *REASONS, "clamped", "watchdog_stops", "chunks_ended", "halts", "late", "limited")
        self.counters = dict.fromkeys((*counted, *KEEP_OUT_REASONS), 0)
        self._announced_hash = ""
        self._tail_spacing_ns = -(-_TAIL_SPACING_NS // settings.set_point_period_ns) * settings.set_point_period_ns
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
    def complaint(self) -> str:
        """What keeps the arm from going where the chunk leads, one line; "" when nothing does."""
        return f"the chunk leads the arm {KEEP_OUT_TEXTS[self.kept_out]}; it waits inside" if self.kept_out else ""

    @property
    def is_led(self) -> bool:
        """Whether a chunk leads the arm, or will from the next set-point on."""
        return self.state == RUNNING or bool(self._arrivals)

    @property
    def time_ns(self) -> int:
        """Time of the newest set-point."""
        return self._time_ns

    def unlatch(self) -> None:
        """Let go: no set-points and no chunks until the next latch."""
        self._enter(UNLATCHED, "not latched to the arm's position yet")
        self._time_ns = 0
        self._motion = JointMotion.at_rest(np.zeros(len(self._settings.limits.joints)))
        self.kept_out = ""
        self._fixed: list[JointMotion] = []
        self._bundle_hash: str | None = None
        self._arrivals: deque[_Arrival] = deque()
        self._chunks: deque[JointPath] = deque()
        self._current: _Arrival | None = None
        self._path = JointPath([0], self._motion.position[None])

    def latch(self, positions: FloatArray, now_ns: int) -> None:
        """Take over at measured joint positions, float (joints,), rad and m, with the arm at rest; then hold there.

        Raises:
            LatchError: see ``check_latch``.
        """
        measured = self.check_latch(positions)
        limits, period_ns = self._settings.limits, self._settings.set_point_period_ns
        self.unlatch()
        self._motion = JointMotion.at_rest(np.clip(measured, limits.position_min, limits.position_max))
        self._time_ns = now_ns // period_ns * period_ns
        self._enter(HOLDING, "latched; no chunk yet")

    def check_latch(self, positions: FloatArray) -> FloatArray:
        """Measured positions that the guard could take over at, as float64.

        Raises:
            LatchError: another number of joints, or a position that is not finite or outside of the limits.
        """
        measured = np.array(positions, np.float64)
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
        return measured

    def accept(self, chunk: ActionChunk, now_ns: int, bundle_hash: str = "") -> None:
        """Follow this chunk from the next set-point on.

        ``bundle_hash`` says which policy answers; after a latch the first chunk's counts, until another is announced.

        Raises:
            ChunkRefused: the chunk is not followed, and does not count for the watchdog; the guard goes on as before.
        """
        self._fix_until(now_ns)
        try:
            self._accept(chunk, now_ns, bundle_hash)
        except ChunkRefused as refusal:
            self.counters[refusal.reason] += 1
            raise
        self.counters["accepted"] += 1

    def take_up_from_tail(self, now_ns: int) -> None:
        """Nothing was handed on since the newest set-point's time, which is past: since then the arm has followed the braking tail, and
        from there it is led on. Changes nothing while set-points are known ahead of ``now_ns``."""
        if self.state == UNLATCHED or now_ns < self._time_ns + self._settings.set_point_period_ns:
            return
        self.counters["late"] += int(not self._motion.is_at_rest())
        period_ns = self._settings.set_point_period_ns
        while self._time_ns + period_ns <= now_ns and not self._motion.is_at_rest():
            self._motion = self._planner.brake(self._motion)
            self._time_ns += period_ns
        self._time_ns = max(self._time_ns, now_ns // period_ns * period_ns)
        if self.state == STOPPING and self._motion.is_at_rest():
            self._enter(HOLDING, self.reason)

    def halt(self, reason: str) -> None:
        """Brake from the next set-point on and then hold, whatever was accepted; a chunk accepted later ends the hold."""
        self._arrivals.clear()
        self._current = None
        if self.state in (RUNNING, STOPPING):
            self.counters["halts"] += 1
            self._enter(STOPPING, reason)
        elif self.state == HOLDING:
            self._enter(HOLDING, reason)

    def advance(self, until_ns: int) -> SetPoints:
        """The set-points after the newest one given up to and including ``until_ns``; none while unlatched."""
        self._fix_until(until_ns)
        motions, self._fixed = self._fixed, []
        period_ns = self._settings.set_point_period_ns
        first_ns = self._time_ns - (len(motions) - 1) * period_ns
        return SetPoints.of(
            [first_ns + step * period_ns for step in range(len(motions))], motions, len(self.joints), self.state
        )

    @property
    def bundle_hash(self) -> str:
        """Of the policy that the arm follows; empty before the first chunk."""
        return self._bundle_hash or ""

    def announce_bundle(self, bundle_hash: str) -> None:
        """Let chunks of this bundle follow those of the present one: from the first that is accepted on, those of the old one are
        refused, and the announcement is used up. Empty: take it back."""
        self._announced_hash = bundle_hash

    def braking_tail(self) -> SetPoints:
        """What would follow the newest set-point if the arm had to stop now; the last one is at rest. Changes nothing.

        Appended to the published set-points it brings the arm to rest even when this process dies. On a grid finer than
        10 ms only every so many of them are given, about 10 ms apart.
        """
        if self.state == UNLATCHED:
            return SetPoints.of([], [], len(self.joints), self.state)
        tail = self._planner.stop_every(self._motion, ns_to_seconds(self._tail_spacing_ns))
        times_ns = self._time_ns + self._tail_spacing_ns * np.arange(1, len(tail[0]) + 1, dtype=np.int64)
        return SetPoints(times_ns, *tail, self.state)

    def _accept(self, chunk: ActionChunk, now_ns: int, bundle_hash: str) -> None:
        if self.state == UNLATCHED:
            raise ChunkRefused(NOT_LATCHED, "the guard is not latched: give it the arm's joint positions first")
        if self._bundle_hash is not None and not (bundle_hash and bundle_hash == self._announced_hash):
            check_bundle(bundle_hash, self._bundle_hash)
        positions = ordered_positions(chunk, self._settings.limits)
        check_stamp(chunk, now_ns, self._settings)
        newest = self._arrivals[-1] if self._arrivals else self._current
        if newest is not None and chunk.stamp_ns < newest.stamp_ns:
            behind_s = ns_to_seconds(newest.stamp_ns - chunk.stamp_ns)
            raise ChunkRefused(
                OUT_OF_ORDER, f"chunk is stamped {behind_s:.3f} s before the newest one: stamps must not fall"
            )
        # An arm that is late by a known time is told so much earlier.
        times_ns = (chunk.times_ns() - self._settings.arm_latency_ns).tolist()
        over_ns = max(now_ns, self._time_ns)
        if not times_ns or times_ns[-1] <= over_ns:
            raise ChunkRefused(
                NO_STEPS_LEFT, f"all {len(times_ns)} steps of the chunk have passed: the policy is too slow"
            )
        targets = clamped_to_limits(positions, self._settings)
        steps = JointPath(times_ns, targets)
        check_jumps(steps.after(over_ns).positions, self._motion.position, self._settings)
        self.counters["clamped"] += int((targets != positions).any())
        accepted_ns = now_ns if newest is None else max(now_ns, newest.accepted_ns)
        self._bundle_hash = bundle_hash
        if bundle_hash == self._announced_hash:
            self._announced_hash = ""
        self._arrivals.append(_Arrival(accepted_ns, chunk.stamp_ns, steps))

    def _fix_until(self, until_ns: int) -> None:
        """Compute the set-points up to ``until_ns`` that are not yet, for ``advance`` to give out."""
        if self.state == UNLATCHED:
            return
        period_ns = self._settings.set_point_period_ns
        for time_ns in range(self._time_ns + period_ns, until_ns + 1, period_ns):
            self._step(time_ns)
            self._fixed.append(self._motion)

    def _step(self, time_ns: int) -> None:
        """Compute the set-point at ``time_ns``, one period after the newest one."""
        while self._arrivals and self._arrivals[0].accepted_ns < time_ns:
            self._follow(self._arrivals.popleft())
        if self.state == RUNNING:
            self._stop_when_overdue(time_ns)
        self.kept_out = ""
        if self.state == RUNNING:
            self._chase(time_ns)
        elif self.state == STOPPING:
            self._motion = self._planner.brake(self._motion)
            if self._motion.is_at_rest():
                self._enter(HOLDING, self.reason)
        self._time_ns = time_ns

    def _chase(self, time_ns: int) -> None:
        step = self._planner.chase(self._motion, *self._path.at(time_ns))
        self._motion, self.kept_out = step.motion, step.kept_out
        self.counters["limited"] += int(step.limited)
        if self.kept_out:
            self.counters[self.kept_out] += 1

    def _follow(self, arrival: _Arrival) -> None:
        """Lead from where the target is now straight to the first step that is still to come."""
        if self.state != RUNNING:
            self._chunks.clear()
            self._path = JointPath([self._time_ns], self._motion.position[None])
        while self._chunks and self._chunks[0].end_ns <= self._time_ns:
            self._chunks.popleft()
        self._chunks.append(arrival.steps)
        start = self._path.at(self._time_ns)[0]
        ahead = blended(self._settings.blending, self._path, self._chunks, self._time_ns)
        self._current = arrival
        self._path = JointPath([self._time_ns, *ahead.times_ns], np.vstack([start, ahead.positions]))
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
