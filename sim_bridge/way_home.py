"""Action chunks that lead an arm along a straight line in joint space to where episodes start."""

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.clock import NS_PER_S, ns_to_seconds, seconds_to_ns
from sim_bridge.fr3 import COMMAND_JOINTS

SPEED_RAD_S = 0.4
ARRIVED_RAD = 0.005
ARRIVED_M = 0.003
_PERIOD_NS = NS_PER_S // 10
_STEPS = 12


class WayHome:
    """A straight way at a calm speed; it begins when it is made and is the same whenever it is asked."""

    def __init__(self, start: NDArray[np.float64], home: NDArray[np.float64], now_ns: int) -> None:
        """``start`` and ``home``: float64 (8,), seven joints (rad) and the finger (m)."""
        self._start = start
        self._home = home
        self._begin_ns = now_ns
        self._duration_s = max(float(np.abs(home - start).max()) / SPEED_RAD_S, 1e-3)

    def has_arrived(self, joints: NDArray[np.float64], now_ns: int) -> bool:
        """Whether the way is over and the arm and the finger are at its end.

        The finger too: a policy that never saw its task begin with an open hand does anything at all.
        """
        is_over = now_ns >= self._begin_ns + seconds_to_ns(self._duration_s)
        off = np.abs(joints - self._home)
        return bool(is_over and off[:7].max() < ARRIVED_RAD and off[7] < ARRIVED_M)

    def chunk(self, now_ns: int) -> ActionChunk:
        """The next 1.2 s of the way, for an observation made now."""
        times_s = ns_to_seconds(now_ns - self._begin_ns) + np.arange(1, _STEPS + 1) * ns_to_seconds(_PERIOD_NS)
        share = np.clip(times_s / self._duration_s, 0.0, 1.0)[:, None]
        positions = self._start + share * (self._home - self._start)
        return ActionChunk(now_ns, _PERIOD_NS, COMMAND_JOINTS, positions.astype(np.float32))
