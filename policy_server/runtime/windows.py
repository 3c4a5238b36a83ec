"""Which past observations make up a context: the one definition of windowing and padding that training and robot share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.clock import NS_PER_S


def select_context(
    stamps_ns: Sequence[int] | NDArray[np.int64], newest: int, offsets_ticks: Sequence[int], period_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Choose one observation per history slot.

    A slot lies ``offset * period`` before the newest observation and takes the latest observation that is not more than
    half a period after it. Slots before the first observation repeat it (left padding) and carry the slot's nominal age,
    as if the world had stood still before the first look.

    Example: stamps 0, 100, 200 ms, offsets (4, 2, 0), period 100 ms → indices (0, 0, 2), ages (0.4, 0.2, 0.0) s.

    Args:
        stamps_ns: ascending observation stamps since the history began.
        newest: index of the observation that is "now".
        offsets_ticks: ages of the slots in ticks, oldest first, ending with 0.

    Returns:
        indices int64 (T,) into ``stamps_ns`` and ages in seconds float32 (T,).
    """
    known = np.asarray(stamps_ns[: newest + 1], dtype=np.int64)
    offsets_ns = np.asarray(offsets_ticks, dtype=np.int64) * period_ns
    slots_ns = known[newest] - offsets_ns
    indices = np.searchsorted(known, slots_ns + period_ns // 2, side="right") - 1
    padded = indices < 0
    indices = np.where(padded, 0, indices)
    ages_ns = np.where(padded | (slots_ns < known[0]), offsets_ns, known[newest] - known[indices])
    return indices, (ages_ns / NS_PER_S).astype(np.float32)


def action_ticks(newest: int, past_steps: int, future_steps: int, length: int) -> NDArray[np.int64]:
    """Indices of the actions of one chunk in an episode of ``length`` ticks: past first, then from ``newest`` on.

    Before the first tick the first action is repeated, after the last tick the last one: the arm rests there.
    """
    return np.clip(np.arange(newest - past_steps, newest + future_steps), 0, length - 1)
