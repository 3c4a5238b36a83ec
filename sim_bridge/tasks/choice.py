"""Tasks in which the hand goes to one of several targets, once it may: the first one it comes to decides."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sim_bridge.tasks.task import RUNNING, Outcome, failed

START_ZONE_M = 0.08
REGION_RADIUS_M = 0.035
REGION_HEIGHT_M = 0.04


def target_at(hand_m: NDArray[np.float64], tops_m: NDArray[np.float64]) -> int | None:
    """Which target the hand is at: ``hand_m`` (3,), the targets' tops float64 (n, 3), in m."""
    offset = np.abs(hand_m - tops_m)
    inside = (np.hypot(offset[:, 0], offset[:, 1]) < REGION_RADIUS_M) & (offset[:, 2] < REGION_HEIGHT_M)
    return int(np.argmax(inside)) if inside.any() else None


class Choice:
    """Judges one episode: the hand waits where it is first seen until it may go, and then goes to one target."""

    def __init__(self, judge: Callable[[int], Outcome]) -> None:
        self._judge = judge
        self._start_m: NDArray[np.float64] | None = None

    def check(self, hand_m: NDArray[np.float64], tops_m: NDArray[np.float64], may_go: bool) -> Outcome:
        if self._start_m is None:
            self._start_m = hand_m
        reached = target_at(hand_m, tops_m)
        if may_go:
            return RUNNING if reached is None else self._judge(reached)
        if reached is not None or np.linalg.norm(hand_m - self._start_m) > START_ZONE_M:
            return failed("the hand left before the lamp turned white")
        return RUNNING
