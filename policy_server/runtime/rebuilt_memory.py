"""The memory of another bundle, made of the frames that were kept."""

import threading

from policy_server.runtime.bundle import Bundle
from policy_server.runtime.clock import ns_to_seconds
from policy_server.runtime.history import Context
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.memory import Memory
from policy_server.runtime.observation import Observation
from policy_server.runtime.raw_frames import RawFrames


def reach_ns(spec: PolicySpec) -> int:
    """How far the policy's context looks back."""
    return spec.history.offsets_ticks[0] * spec.period_ns


class RebuiltMemory:
    """Encodes kept frames one by one until it has seen them all; then its contexts are those of a memory that was there from the start.

    One thread calls ``step`` while another, which must not wait, calls ``observe``.
    """

    def __init__(self, bundle: Bundle, frames: RawFrames, *, provider: str, threads: int, max_gap_ns: int) -> None:
        self.memory = Memory(bundle, provider=provider, threads=threads, max_gap_ns=max_gap_ns)
        self._frames = frames
        self._reach_ns = reach_ns(bundle.spec)
        self._lock = threading.Lock()
        self._newest_ns: int | None = None

    def step(self) -> bool:
        """Encode and remember the next frame; False when there is none. Raises as ``Memory.remember``."""
        with self._lock:
            observation, anew = self._frames.next_after(self._newest_ns, self._reach_ns)
            if observation is None:
                return False
            if anew:
                self.memory.clear()
            self.memory.remember(observation)
            self._newest_ns = observation.stamp_ns
            return True

    def observe(self, observation: Observation) -> Context | None:
        """The context at the newest observation, which is among the frames already, at the cost of at most one encoder pass; None while
        it is behind, or busy. Raises as ``Memory.observe``."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            if self._newest_ns == observation.stamp_ns:
                return self.memory.context()
            following, anew = self._frames.next_after(self._newest_ns, self._reach_ns)
            if following is not observation:
                return None
            if anew:
                self.memory.clear()
            self._newest_ns = observation.stamp_ns
            return self.memory.observe(observation)
        finally:
            self._lock.release()

    def clear(self) -> None:
        """Forget the episode, after the frames have; waits for the encoder pass in progress."""
        with self._lock:
            self.memory.clear()
            self._newest_ns = None

    @property
    def waiting(self) -> int:
        """How many frames it has not seen yet."""
        return self._frames.count_after(self._newest_ns)

    @property
    def padding(self) -> str:
        """What its context lacks because the frames were not kept for so long, one line; empty when nothing."""
        missing_ns = self._frames.missing_ns(self._reach_ns)
        if not missing_ns:
            return ""
        return (
            f"its memory reaches {ns_to_seconds(self._reach_ns):.1f} s back, frames of {ns_to_seconds(self._frames.span_ns):.1f} s "
            f"are there: the oldest one stands for the {ns_to_seconds(missing_ns):.1f} s before"
        )
