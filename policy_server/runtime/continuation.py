"""How a fresh chunk continues the standing plan: not at all, by holding what will have been executed, or from a warm start."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.inpainting import Inpainting, InpaintingError, check_first_step, soft_mask
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.verification import ExecutedPast

Execution = Literal["latest", "real_time_chunking"]


@dataclass(frozen=True)
class Continuation:
    """How the standing plan enters a fresh chunk.

    Attributes:
        execution: ``latest``: not at all. ``real_time_chunking``: its next ``delay_ticks`` steps are held fixed, those after them softly
            (arXiv 2506.07339, eq. 5).
        delay_ticks: policy ticks from an observation until the chunk that answers it leads the arm, as expected.
        warm_start: sampling steps left out, from a noised standing plan on; 0 starts from noise alone.
    """

    execution: Execution = "latest"
    delay_ticks: int = 0
    warm_start: int = 0

    @property
    def reads_the_plan(self) -> bool:
        return self.execution == "real_time_chunking" or self.warm_start > 0


def check_continuation(spec: PolicySpec, continuation: Continuation) -> Continuation:
    """``continuation``, where the policy's chunks allow it.

    Raises:
        InpaintingError: no such execution, the delay outlasts a chunk, or the warm start leaves no sampling step.
    """
    if continuation.execution not in get_args(Execution):
        raise InpaintingError(f"execution '{continuation.execution}': give {' or '.join(get_args(Execution))}")
    most = spec.action.future_steps - 1
    if not 0 <= continuation.delay_ticks <= most:
        raise InpaintingError(
            f"a delay of {continuation.delay_ticks} ticks: a chunk of policy '{spec.name}' has {most + 1} future steps, so it would come "
            f"too late to be followed; give 0 to {most}"
        )
    check_first_step(continuation.warm_start, spec.sampler.steps)
    return continuation


def continued_from(
    plan: ActionChunk | None, executed: ExecutedPast, stamp_ns: int, spec: PolicySpec, continuation: Continuation
) -> Inpainting | None:
    """What a chunk that answers the observation of ``stamp_ns`` is given of the standing ``plan``.

    Future rows are the plan's steps at the same times, past rows the executed actions; rows that neither knows repeat the nearest one
    and are not held. None: there is nothing to continue, or it is not asked for.
    """
    if not continuation.reads_the_plan or plan is None:
        return None
    ahead = plan.remaining(stamp_ns).positions
    if not len(ahead):
        return None
    action = spec.action
    rows = np.concatenate([action.past_steps - executed.ticks_back, action.past_steps + np.arange(len(ahead))])
    known = np.concatenate([executed.actions, ahead]) if len(executed) else ahead
    weight = np.zeros(action.horizon, np.float32)
    if continuation.execution == "real_time_chunking":
        weight[action.past_steps :] = soft_mask(action.future_steps, continuation.delay_ticks, len(ahead))
    return Inpainting(_nearest_known(rows, known, action.horizon), weight, continuation.warm_start)


def _nearest_known(rows: NDArray[np.int64], known: NDArray[np.float32], horizon: int) -> NDArray[np.float32]:
    """A chunk float32 (horizon, A) that has ``known`` (K, A) in ``rows`` (K,), and in every other row the nearest of them."""
    nearest = np.abs(np.arange(horizon)[:, None] - rows).argmin(axis=1)
    return np.ascontiguousarray(known[nearest], np.float32)
