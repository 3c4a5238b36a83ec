"""The observation history: one row per policy tick, kept as embeddings so that each frame is encoded once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.clock import ns_to_seconds
from policy_server.runtime.errors import ObservationError, StampError
from policy_server.runtime.windows import select_context


@dataclass(frozen=True)
class Context:
    """What the denoiser reads.

    Attributes:
        stamp_ns: stamp of the newest observation.
        rows: float32 (T, D), oldest first; columns: age in s, embedding, state (joints in rad and m, then
            features).
    """

    stamp_ns: int
    rows: NDArray[np.float32]


class ObservationHistory:
    """A ring of observation rows, seen from outside as a context of T rows.

    Storage: float32 (capacity, D - 1), where capacity covers twice the oldest offset; stamps int64 (capacity,), oldest first.
    Back-fill: slots before the first observation repeat it (see ``windows.select_context``).
    Example: offsets (4, 2, 0) after two observations A, B → rows A, A, B.
    """

    def __init__(self, offsets_ticks: Sequence[int], period_ns: int, row_width: int, max_gap_ns: int) -> None:
        if not offsets_ticks or offsets_ticks[-1] != 0 or list(offsets_ticks) != sorted(offsets_ticks, reverse=True):
            raise ValueError(f"offsets_ticks {tuple(offsets_ticks)} must run oldest first and end with 0")
        self._offsets_ticks = tuple(offsets_ticks)
        self._period_ns = period_ns
        self._max_gap_ns = max_gap_ns
        self._capacity = 2 * (offsets_ticks[0] + 1)  # twice: ticks may come early, the window is measured in time
        self._rows = np.empty((2 * self._capacity, row_width), np.float32)
        self._stamps_ns = np.empty(2 * self._capacity, np.int64)
        self._start = 0
        self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    def clear(self) -> None:
        """Forget everything: the next observation is the first."""
        self._start = self._end = 0

    def append(self, stamp_ns: int, row: NDArray[np.float32]) -> None:
        """Add the newest observation.

        Raises:
            StampError: the stamp does not come after the newest one, or leaves a gap longer than ``max_gap_ns``.
            ObservationError: the row holds NaN or infinity.
        """
        self._check_stamp(stamp_ns)
        if not np.isfinite(row).all():
            raise ObservationError(
                f"observation at {stamp_ns} ns holds a number that is not finite: check joints and encoder"
            )
        if self._end == len(self._rows):
            self._compact()
        self._rows[self._end] = row
        self._stamps_ns[self._end] = stamp_ns
        self._end += 1
        self._start = max(self._start, self._end - self._capacity)

    def context(self) -> Context:
        """The context at the newest observation; float32 (T, 1 + row_width), a copy."""
        if not len(self):
            raise ObservationError("the history is empty: wait for the first observation")
        stamps_ns = self._stamps_ns[self._start : self._end]
        indices, ages_s = select_context(stamps_ns, len(stamps_ns) - 1, self._offsets_ticks, self._period_ns)
        rows = self._rows[self._start + indices]
        return Context(int(stamps_ns[-1]), np.concatenate([ages_s[:, None], rows], axis=1))

    def _check_stamp(self, stamp_ns: int) -> None:
        if not len(self):
            return
        step_ns = stamp_ns - int(self._stamps_ns[self._end - 1])
        if step_ns <= 0:
            raise StampError(
                f"observation stamp {stamp_ns} ns is {-step_ns} ns before the newest one: stamps must rise; check the clocks of "
                "camera and robot, or reset the history"
            )
        if step_ns > self._max_gap_ns:
            raise StampError(
                f"{ns_to_seconds(step_ns):.3f} s without an observation (at most {ns_to_seconds(self._max_gap_ns):.3f} s): the policy "
                "would act on a torn memory; reset the history"
            )

    def _compact(self) -> None:
        count = len(self)
        self._rows[:count] = self._rows[self._start : self._end]
        self._stamps_ns[:count] = self._stamps_ns[self._start : self._end]
        self._start, self._end = 0, count
