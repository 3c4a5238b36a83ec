"""Context in, action chunk out: decides when to sample anew and when the standing plan goes on."""

import time

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.bundle import Bundle
from policy_server.runtime.engine import Denoiser
from policy_server.runtime.errors import ObservationError
from policy_server.runtime.history import Context


class Actor:
    """The acting half of a running policy: denoiser and chunk schedule of one bundle.

    Every context is answered: with a fresh chunk when ``replan_every_ticks`` ticks have passed since the last one, otherwise
    with the rest of the standing chunk. So an answer is also a sign of life.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: str = "cpu",
        threads: int = 1,
        noise_seed: int = 0,
        replan_every_ticks: int | None = None,
    ) -> None:
        self._spec = bundle.spec
        self._denoiser = Denoiser(bundle, provider=provider, threads=threads)
        self._noise_seed = noise_seed
        self._replan_every_ticks = replan_every_ticks or bundle.spec.action.replan_every_ticks
        self.last_network_ns = 0
        self.clear()

    def clear(self) -> None:
        """Drop the standing plan and begin the noise sequence anew."""
        self._plan: ActionChunk | None = None
        self._samples_drawn = 0

    def answer(self, context: Context) -> ActionChunk:
        """The action chunk for a context: future steps only, stamped with the context's stamp.

        Raises:
            ObservationError: the context's shape is not the bundle's.
        """
        expected = (self._spec.history.length, self._spec.row_width)
        if context.rows.shape != expected:
            raise ObservationError(
                f"context has shape {context.rows.shape}, the bundle reads {expected}: is it another policy's?"
            )
        self.last_network_ns = 0
        if self._is_due(context.stamp_ns):
            self._plan = self._sample(context)
        assert self._plan is not None
        return self._plan.remaining(context.stamp_ns)

    def _is_due(self, stamp_ns: int) -> bool:
        if self._plan is None:
            return True
        return round((stamp_ns - self._plan.stamp_ns) / self._spec.period_ns) >= self._replan_every_ticks

    def _sample(self, context: Context) -> ActionChunk:
        noise = draw_noise(self._noise_seed, self._samples_drawn, self._denoiser.chunk_shape)
        start_ns = time.perf_counter_ns()
        actions = self._denoiser.sample(context.rows, noise)
        self.last_network_ns = time.perf_counter_ns() - start_ns
        self._samples_drawn += 1
        action = self._spec.action
        return ActionChunk(context.stamp_ns, self._spec.period_ns, action.joints, actions[action.past_steps :])


def draw_noise(seed: int, index: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Standard normal noise of the ``index``-th sample since the last reset; the same on every machine."""
    # The index goes into the counter's highest word, so that the streams of two samples never overlap.
    generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, index]))
    return generator.standard_normal(shape, dtype=np.float32)
