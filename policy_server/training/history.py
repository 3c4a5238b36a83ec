"""How much of the past a training step shows, and which past actions it may then ask for.

Variable History Training trains one policy at many context lengths (arXiv 2606.16447); history dropout hides the past from single
windows. The policy always acts with the full context.
"""

import numpy as np
from numpy.typing import NDArray

from policy_server.training.configuration import HistoryConfig


def shown_length(config: HistoryConfig, full: int, step: int, steps: int, generator: np.random.Generator) -> int:
    """The number of newest observations, ``shortest`` to ``full``, that this step shows to all of its windows.

    ``progressive`` draws evenly between ``shortest`` and a longest length that grows with the step, so that short contexts come
    first and longer ones are added; with probability ``longest_share`` it takes that longest length. ``sprinkle`` draws the full
    length with probability ``full_share``, else evenly a shorter one.
    """
    if config.curriculum == "full" or config.shortest >= full:
        return full
    if config.curriculum == "progressive":
        longest = _longest(config, full, step, steps)
        if config.longest_share and generator.random() < config.longest_share:
            return longest
        return int(generator.integers(config.shortest, longest + 1))
    if generator.random() < config.full_share:
        return full
    return int(generator.integers(config.shortest, full))


def _longest(config: HistoryConfig, full: int, step: int, steps: int) -> int:
    """Every length from ``shortest`` to ``full`` is the longest for an equal share of the ramp; then ``full``."""
    ramp_steps = config.ramp * steps
    if step >= ramp_steps:
        return full
    lengths = full - config.shortest + 1
    return config.shortest + int(step / ramp_steps * lengths)


def draw_visible(dropout: float, windows: int, length: int, generator: np.random.Generator) -> NDArray[np.bool_] | None:
    """Which context rows each window may see, bool (windows, length); None when every window sees all of them.

    A window that is struck by history dropout sees its newest observation alone.
    """
    if dropout == 0.0 or length == 1:
        return None
    struck = generator.random(windows) < dropout
    if not struck.any():
        return None
    visible = np.ones((windows, length), bool)
    visible[struck, :-1] = False
    return visible


def chunk_weights(
    past_steps: int, future_steps: int, shown_ticks: int, visible: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Which rows of the chunk are learned: 1 or 0, float32 (H,), or (windows, H) with ``visible``.

    A past action is learned only as far back as observations are shown (limited past prediction): ``shown_ticks`` is the age of
    the oldest one in ticks. A window of which only the newest observation is visible learns no past action. All future actions are
    learned.
    """
    offsets = np.arange(-past_steps, future_steps)
    if visible is None:
        return (offsets >= -shown_ticks).astype(np.float32)
    oldest = np.where(visible[:, 0], shown_ticks, 0)
    return (offsets >= -oldest[:, None]).astype(np.float32)
