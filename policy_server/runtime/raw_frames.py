"""The observations of the last seconds as they arrived, so that another encoder can look at them again."""

import threading
from collections import deque

from policy_server.runtime.observation import Observation


class RawFrames:
    """A queue of observations, oldest first: as many as a memory that reaches ``reach_ns`` back needs.

    Kept are all that are younger than the reach, and the newest one of those that are not: a context made of these is that of a
    memory which has seen everything. Pictures stay uint8 in their source size and are not copied. What they take is bounded by
    ``limit_bytes``, whatever the reach; the newest observation is always there. Methods may be called from any thread.
    """

    def __init__(self, reach_ns: int, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._reach_ns = reach_ns
        self._lock = threading.Lock()
        self._kept: deque[Observation] = deque()
        self._bytes = 0
        self._has_dropped = False

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        """What the kept pictures take."""
        return self._bytes

    @property
    def span_ns(self) -> int:
        """From the oldest to the newest observation."""
        with self._lock:
            return self._kept[-1].stamp_ns - self._kept[0].stamp_ns if self._kept else 0

    def add(self, observation: Observation) -> None:
        """Take the newest observation; its stamp comes after those before."""
        with self._lock:
            self._kept.append(observation)
            self._bytes += _size_bytes(observation)
            self._trim()

    def clear(self) -> None:
        """Forget the episode."""
        with self._lock:
            self._kept.clear()
            self._bytes, self._has_dropped = 0, False

    def set_reach(self, reach_ns: int) -> None:
        """Keep observations for so long from now on."""
        with self._lock:
            self._reach_ns = reach_ns
            self._trim()

    def missing_ns(self, reach_ns: int) -> int:
        """By how much a memory that reaches so far back finds less than the episode had; 0 where nothing it needs was dropped."""
        with self._lock:
            if not self._kept or not self._has_dropped:
                return 0
            return max(0, self._kept[0].stamp_ns - (self._kept[-1].stamp_ns - reach_ns))

    def next_after(self, stamp_ns: int | None, reach_ns: int) -> tuple[Observation | None, bool]:
        """The observation that comes next for a memory whose newest one is stamped ``stamp_ns`` (None: empty), and whether it must
        begin anew: it is empty, or what comes between has been dropped.

        A memory that begins is given the oldest that it needs to reach ``reach_ns`` back.
        """
        with self._lock:
            if not self._kept:
                return None, False
            if stamp_ns is None or stamp_ns < self._kept[0].stamp_ns:
                return self._kept[_first_needed(self._kept, reach_ns)], True
            return next((seen for seen in self._kept if seen.stamp_ns > stamp_ns), None), False

    def count_after(self, stamp_ns: int | None) -> int:
        """How many there are with a later stamp."""
        with self._lock:
            return sum(stamp_ns is None or seen.stamp_ns > stamp_ns for seen in self._kept)

    def _trim(self) -> None:
        for _ in range(_first_needed(self._kept, self._reach_ns) if self._kept else 0):
            self._drop()
        while self._bytes > self._limit_bytes and len(self._kept) > 1:
            self._drop()

    def _drop(self) -> None:
        self._bytes -= _size_bytes(self._kept.popleft())
        self._has_dropped = True


def _first_needed(kept: deque[Observation], reach_ns: int) -> int:
    """Index of the newest observation that is at least as old as the reach, or 0."""
    horizon_ns = kept[-1].stamp_ns - reach_ns
    younger = next((index for index, seen in enumerate(kept) if seen.stamp_ns > horizon_ns), len(kept))
    return max(0, younger - 1)


def _size_bytes(observation: Observation) -> int:
    return sum(image.nbytes for image in observation.images.values())
