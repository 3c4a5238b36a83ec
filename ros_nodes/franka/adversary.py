"""A policy that does everything wrong: seeded streams of chunks and stalls for a guard that must bear them all."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.clock import NS_PER_MS, NS_PER_S
from ros_nodes.franka.limits import FloatArray, JointLimits

_BUNDLES = ("1" * 64, "2" * 64)
_STEADY_SHARE = 0.6  # of the chunks: a plan that the arm can follow, so that what comes next meets an arm at speed
_FOLDED = np.array([0.0, -1.7, 0.0, -3.0, 0.0, 1.0, 0.8, 0.0])  # the hand in the arm's own column
_STRIDE_RAD = 0.6  # a step towards the joints' ends that the guard does not take for a jump
_SPOILS = (
    "nan",
    "inf",
    "far",
    "joints",
    "period",
    "empty",
    "future",
    "past",
    "bundle",
    "jump",
    "ends",
    "huge",
    "columns",
    "fold",
)


@dataclass(frozen=True)
class Attack:
    """One chunk and what happens around it.

    Attributes:
        pause_ns: time since the attack before.
        lead_ns: how far past now set-points are asked for afterwards.
        chunk: stamped relative to now: 0 answers an observation of this moment.
        repeats: how often it is sent in a row.
        bundle_hash: who claims to have sent it.
        halts: whether an operator stops the arm first.
    """

    pause_ns: int
    lead_ns: int
    chunk: ActionChunk
    repeats: int
    bundle_hash: str
    halts: bool


class Adversary:
    """Chunks drawn from one seed: most of them a smooth plan, the others spoiled in one way each."""

    def __init__(self, seed: int, limits: JointLimits) -> None:
        self._rng = np.random.default_rng(seed)
        self._limits = limits
        rng, room = self._rng, limits.position_max - limits.position_min
        self._centre = limits.position_min + room * rng.uniform(0.2, 0.8, len(room))
        self._swing = room * rng.uniform(0.0, 0.25) * rng.uniform(0.0, 1.0, len(room))
        self._pulse = rng.uniform(0.2, 2.5, len(room))
        self._latency_ms = int(rng.integers(0, 200))
        # The plan may lead beyond the joints' ends; an arm does not stand there.
        self.start = np.clip(self._plan(np.zeros(1))[0], limits.position_min, limits.position_max)

    def attacks(self) -> Iterator[Attack]:
        """Without end."""
        now_ns = 0
        while True:
            attack = self._draw(now_ns)
            now_ns += attack.pause_ns
            yield attack

    def _draw(self, now_ns: int) -> Attack:
        rng = self._rng
        pause_ns = self._draw_pause_ns()
        steps, period_ns = int(rng.integers(1, 13)), 100 * NS_PER_MS
        wavers_ms = int(rng.integers(-30, 30)) if rng.random() < 0.1 else 0
        stamp_ns = -max(0, self._latency_ms + wavers_ms) * NS_PER_MS
        times_s = (now_ns + pause_ns + stamp_ns + period_ns * np.arange(1, steps + 1)) / NS_PER_S
        chunk = ActionChunk(stamp_ns, period_ns, self._limits.joints, self._plan(times_s).astype(np.float32))
        bundle_hash = _BUNDLES[0]
        if rng.random() >= _STEADY_SHARE:
            spoil = _SPOILS[rng.integers(len(_SPOILS))]
            chunk = self._spoiled(chunk, spoil)
            bundle_hash = _BUNDLES[spoil == "bundle"]
        repeats = int(rng.choice([1, 2, 3], p=[0.94, 0.04, 0.02]))
        lead_ns = int(rng.choice([0, 40, 100])) * NS_PER_MS
        return Attack(pause_ns, lead_ns, chunk, repeats, bundle_hash, halts=rng.random() < 0.005)

    def _draw_pause_ns(self) -> int:
        """Mostly a policy's tick or less, at times up to 2 s, and sometimes none."""
        rng = self._rng
        kind = rng.random()
        if kind < 0.05:
            return 0
        longest_ms = 60 if kind < 0.75 else 120 if kind < 0.98 else 2000
        return int(rng.integers(0, longest_ms * NS_PER_MS))

    def _plan(self, times_s: NDArray[np.float64]) -> FloatArray:
        swing = np.sin(times_s[:, None] * self._pulse + np.arange(len(self._pulse)))
        return self._centre + self._swing * swing

    def _spoiled(self, chunk: ActionChunk, spoil: str) -> ActionChunk:
        rng, limits, positions = self._rng, self._limits, chunk.positions.copy()
        stamp_ns, period_ns, joints = chunk.stamp_ns, chunk.period_ns, chunk.joints
        step, joint = rng.integers(len(positions)), rng.integers(len(joints))
        room = limits.position_max - limits.position_min
        if spoil in ("nan", "inf", "far", "huge"):
            positions[step, joint] = {"nan": np.nan, "inf": -np.inf, "far": 50.0, "huge": 3e38}[spoil]
        elif spoil == "joints":
            joints = (*joints[:-1], "other") if rng.random() < 0.5 else joints[:-1]
        elif spoil == "columns":
            positions = positions[:, :-1]
        elif spoil == "period":
            period_ns = int(rng.choice([0, -period_ns, 1, 10**6, 7 * 10**6, 10**9]))
        elif spoil == "empty":
            positions = positions[:0]
        elif spoil == "future":
            stamp_ns = int(rng.choice([10, 30, 300, 10**6])) * NS_PER_MS
        elif spoil == "past":
            stamp_ns = -int(rng.choice([200, 450, 700, 10**6])) * NS_PER_MS
        elif spoil == "jump":
            positions[step:] += rng.uniform(-1.0, 1.0, len(room)) * room * rng.choice([0.01, 0.1, 1.0])
        elif spoil == "ends":
            beyond = 0.005 * room
            ends = np.where(rng.random(len(room)) < 0.5, limits.position_min - beyond, limits.position_max + beyond)
            positions[:] = _towards(positions, ends)
        elif spoil == "fold":
            folded = np.clip(_FOLDED, limits.position_min, limits.position_max)
            positions[:] = _towards(positions, folded)
        return ActionChunk(stamp_ns, period_ns, joints, positions)


def _towards(positions: NDArray[np.float32], goal: FloatArray) -> FloatArray:
    """Steps from the first one to a goal, as far as a step may go."""
    stride = np.clip((goal - positions[0]) / max(1, len(positions) - 1), -_STRIDE_RAD, _STRIDE_RAD)
    return positions[0] + stride * np.arange(len(positions))[:, None]
