"""The motion that tells latencies: two sines on one joint, which repeat themselves at no delay that is looked for."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.clock import NS_PER_MS, NS_PER_S
from ros_nodes.franka.limits import FloatArray

_FREQUENCIES_HZ = (0.4, 0.9)
_SHARES = (1.0, 0.5)
_RAMP_S = 1.0
_PERIOD_NS = 50 * NS_PER_MS
_STEPS = 12
_PEAK_STEP_S = 0.001


@dataclass(frozen=True)
class CalibrationMotion:
    """One joint swings about where it was found, the others stay.

    Attributes:
        start_ns: when it begins.
        duration_s: from rest to rest.
        joints: names in column order.
        found: float64 (joints,), where the arm stood, rad and m.
        joint: which column swings.
        amplitude_rad: how far it swings at most, to either side of where it was found.
    """

    start_ns: int
    duration_s: float
    joints: tuple[str, ...]
    found: FloatArray
    joint: int
    amplitude_rad: float

    @property
    def end_ns(self) -> int:
        return self.start_ns + round(self.duration_s * NS_PER_S)

    def angle(self, times_ns: NDArray[np.int64]) -> FloatArray:
        """Where the joint is to be, float64 (times,), rad."""
        since_s = (times_ns - self.start_ns) / NS_PER_S
        return np.asarray(self.found[self.joint] + self.amplitude_rad / self._peak * _swing(since_s, self.duration_s))

    @cached_property
    def _peak(self) -> float:
        """How far the sines swing together when none is scaled; it depends on how long they do."""
        return float(np.abs(_swing(np.arange(0.0, self.duration_s, _PEAK_STEP_S), self.duration_s)).max())

    def chunk(self, now_ns: int) -> ActionChunk:
        """The next 0.6 s of it, as a policy would answer an observation of now."""
        stamp_ns = now_ns // _PERIOD_NS * _PERIOD_NS
        times_ns = stamp_ns + _PERIOD_NS * np.arange(1, _STEPS + 1, dtype=np.int64)
        positions = np.tile(self.found, (_STEPS, 1))
        positions[:, self.joint] = self.angle(times_ns)
        return ActionChunk(stamp_ns, _PERIOD_NS, self.joints, positions.astype(np.float32))


def _swing(since_s: FloatArray, duration_s: float) -> FloatArray:
    ramp = np.clip(np.minimum(since_s, duration_s - since_s) / _RAMP_S, 0.0, 1.0)
    waves = zip(_SHARES, _FREQUENCIES_HZ, strict=True)
    sines = sum(share * np.sin(2.0 * np.pi * rate_hz * since_s) for share, rate_hz in waves)
    return np.asarray(ramp * ramp * (3.0 - 2.0 * ramp) * sines)
