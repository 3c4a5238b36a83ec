"""How smoothly one chunk takes over from another: peak jerk at the seams against that inside chunks, per episode.

Two motions are judged, both on the guard's grid of set-points: the *path* that the chunks describe, straight lines between their steps,
before the guard limits anything, and the *set-points* that were executed. Of straight lines all jerk is in the knots: there it is the
change of velocity over the grid's period squared, so the path's figures compare with each other and not with a robot's limit.

A *seam* is where a fresh chunk takes over. Its first step and the one after it make two kinks (the second turns from the line that joins
both plans into the new one), so a seam lasts from half a policy period before to one and a half after the hand-over. While no chunk leads
(the arm waits, or the chunk has no steps left) is between chunks as well. All else is inside, from the end of the first seam on: the
departure from rest at the start of an episode joins nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.clock import NS_PER_S
from ros_nodes.franka.set_points import SetPoints
from sim_bridge.fr3 import ARM_JOINTS


@dataclass(frozen=True)
class SeamJerk:
    """Jerk of the arm's joints, rad/s³, at seams and inside chunks; None where there was no such moment."""

    seam: float | None
    inside: float | None

    @property
    def ratio(self) -> float | None:
        """Seam over inside; None where either is missing, or nothing moved."""
        return self.seam / self.inside if self.seam is not None and self.inside else None


@dataclass(frozen=True)
class Smoothness:
    """One episode's jerk.

    Attributes:
        path: largest of any joint, of the path before the guard.
        set_points: largest of any joint, of the set-points that were executed. The guard limits it, and reaches its limit wherever the path
            has a kink worth the name, so both of its figures are mostly that limit.
        set_points_rms: root of the mean square over set-points and joints, which tells how long the guard had to work.
        hand_overs: how many fresh chunks took over, the first one included.
    """

    path: SeamJerk
    set_points: SeamJerk
    set_points_rms: SeamJerk
    hand_overs: int


class MotionRecord:
    """What led the arm in each tick of an episode, and where it was told to go."""

    def __init__(self, start: NDArray[np.float64], period_ns: int) -> None:
        """``start``: float64, the arm's first set-point, its joints first. ``period_ns``: of the policy."""
        self._period_ns = period_ns
        self._targets = [start[: len(ARM_JOINTS)]]
        self._set_points = [start[None, : len(ARM_JOINTS)]]
        self._handed_over: list[bool] = []
        self._leads: list[bool] = []

    def add(self, chunk: ActionChunk | None, executed: SetPoints, *, handed_over: bool, leads: bool) -> None:
        """One tick: the chunk that led it, if any, and the tick's set-points."""
        target = self._targets[-1]
        if chunk is not None:
            target = chunk.positions[0, [chunk.joints.index(joint) for joint in ARM_JOINTS]].astype(np.float64)
        self._targets.append(target)
        self._set_points.append(executed.positions[:, : len(ARM_JOINTS)])
        self._handed_over.append(handed_over)
        self._leads.append(leads)

    def smoothness(self) -> Smoothness:
        """Of the ticks so far."""
        set_points = np.concatenate(self._set_points)
        ticks = len(self._leads)
        per_tick = max((len(set_points) - 1) // max(ticks, 1), 1)
        handed_over, leads = np.array(self._handed_over, bool), np.array(self._leads, bool)
        period_s = self._period_ns / NS_PER_S / per_tick
        path = _divided(along(np.stack(self._targets), per_tick), period_s, handed_over, leads)
        executed = _divided(set_points, period_s, handed_over, leads)
        return Smoothness(
            SeamJerk(*map(_largest, path)),
            SeamJerk(*map(_largest, executed)),
            SeamJerk(*map(_rms, executed)),
            int(handed_over.sum()),
        )


def along(knots: NDArray[np.float64], per_tick: int) -> NDArray[np.float64]:
    """Straight lines between ``knots`` (ticks + 1, J), sampled ``per_tick`` times a tick: float64 (ticks * per_tick + 1, J)."""
    at = np.arange((len(knots) - 1) * per_tick + 1) / per_tick
    return np.stack([np.interp(at, np.arange(len(knots)), column) for column in knots.T], axis=-1)


def seams(handed_over: NDArray[np.bool_], leads: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which half ticks belong to a seam, bool (2 * ticks,); of bool (ticks,) each."""
    between = np.repeat(handed_over | ~leads, 2)
    result = between.copy()
    result[1:] |= between[:-1]
    result[:-1] |= between[1:]
    return result


def _divided(
    positions: NDArray[np.float64], period_s: float, handed_over: NDArray[np.bool_], leads: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Jerk of positions (ticks * per_tick + 1, J), ``period_s`` apart: at the seams, and inside chunks, float64 (n, J) each."""
    nothing = np.empty((0, positions.shape[1]))
    if not handed_over.any():
        return nothing, nothing
    jerk = np.diff(positions, n=3, axis=0) / period_s**3
    # Where in units of half ticks the middle of each third difference lies.
    half_tick = ((np.arange(len(jerk)) + 1.5) * (2 * len(leads)) / (len(positions) - 1)).astype(int)
    counts = half_tick >= 2 * int(handed_over.argmax()) + 3
    at_seam = seams(handed_over, leads)[half_tick]
    return jerk[counts & at_seam], jerk[counts & ~at_seam]


def _largest(jerk: NDArray[np.float64]) -> float | None:
    return float(np.abs(jerk).max()) if len(jerk) else None


def _rms(jerk: NDArray[np.float64]) -> float | None:
    return float(np.sqrt(np.square(jerk).mean())) if len(jerk) else None


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Median and its 95 % interval between order statistics (exact whatever the distribution; of under six values all of them)."""
    ordered = sorted(values)
    count = len(ordered)
    below = 0.0
    rank = 0  # of the interval's lower end; the largest one outside of which lie at most 2.5 %
    while rank < count // 2:
        below += math.comb(count, rank) / 2**count
        if below > 0.025:
            break
        rank += 1
    rank = max(rank - 1, 0)
    return float(np.median(ordered)), ordered[rank], ordered[count - 1 - rank]


def describe_seams(motions: Sequence[Smoothness]) -> str:
    """Of several episodes, in one line: jerk at seams over that inside chunks, as medians with their 95 % intervals."""
    parts = []
    for name, jerks in (
        ("path", [motion.path for motion in motions]),
        ("set-points", [motion.set_points for motion in motions]),
    ):
        ratios = [jerk.ratio for jerk in jerks if jerk.ratio is not None]
        if ratios:
            median, low, high = median_interval(ratios)
            parts.append(f"{name} {median:.2f} ({low:.2f} to {high:.2f})")
    if not parts:
        return "peak jerk at seams over that inside chunks: no moment lies inside; sample less often (--replan-every-ticks)"
    return f"peak jerk at seams over that inside chunks, median of {len(motions)} episodes: {', '.join(parts)}"
