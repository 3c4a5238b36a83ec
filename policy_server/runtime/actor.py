"""Context in, action chunk out: decides when to sample anew and when the standing plan goes on."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.bundle import Bundle
from policy_server.runtime.continuation import Continuation, check_continuation, continued_from
from policy_server.runtime.engine import Denoiser
from policy_server.runtime.errors import ConfigurationError, ObservationError
from policy_server.runtime.history import Context
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.verification import ExecutedActions, Verification, check_candidates, verify


@dataclass(frozen=True)
class Schedule:
    """How a policy is run: ticks between two samples, and candidates drawn for each."""

    replan_every_ticks: int
    candidates: int


def schedule_of(spec: PolicySpec, replan_every_ticks: int | None, candidates: int | None) -> Schedule:
    """The schedule with these numbers, the bundle's where they are None.

    Raises:
        ConfigurationError: a chunk would be used up before the next one is sampled.
        VerificationError: several candidates of a policy that cannot verify them.
    """
    every = spec.action.replan_every_ticks if replan_every_ticks is None else replan_every_ticks
    if not 1 <= every <= spec.action.future_steps:
        raise ConfigurationError(
            f"replan_every_ticks is {every}, a chunk of policy '{spec.name}' has {spec.action.future_steps} future steps: "
            f"give 1 to {spec.action.future_steps}"
        )
    return Schedule(every, check_candidates(spec, spec.verification.candidates if candidates is None else candidates))


class Actor:
    """The acting half of a running policy: denoiser, chunk schedule and self-verification of one bundle.

    Every context is answered: with a fresh chunk when ``replan_every_ticks`` ticks have passed since the last one, otherwise
    with the rest of the standing chunk. So an answer is also a sign of life.

    A fresh chunk is the best of ``candidates``, by what was executed before (``verification.py``); with nothing executed yet a
    single one is drawn. Both numbers are the bundle's where they are None, and raise as ``schedule_of`` does.

    A fresh chunk continues the standing one as ``continuation`` says (``continuation.py``).

    Adapters are loaded into and activated on ``denoiser``, from any thread; a change takes effect with the next fresh chunk.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: str = "cpu",
        threads: int = 1,
        noise_seed: int = 0,
        replan_every_ticks: int | None = None,
        candidates: int | None = None,
        continuation: Continuation | None = None,
    ) -> None:
        """Raises InpaintingError when the bundle cannot continue a plan as asked, and as ``schedule_of`` does."""
        self._spec = bundle.spec
        self.schedule = schedule_of(bundle.spec, replan_every_ticks, candidates)
        self.continuation = check_continuation(bundle.spec, continuation or Continuation())
        self._scales = np.array(bundle.spec.verification.scales, np.float32)
        self._executed = ExecutedActions(bundle.spec.period_ns, bundle.spec.action.past_steps)
        self.denoiser = Denoiser(bundle, provider=provider, threads=threads, candidates=self.schedule.candidates)
        if self.continuation.reads_the_plan:
            self.denoiser.check_inpaintable()
        self._noise_seed = noise_seed
        self.last_network_ns = 0
        self.clear()

    def clear(self) -> None:
        """Drop the standing plan, forget what was executed, and begin the noise sequence anew."""
        self._plan: ActionChunk | None = None
        self._executed.clear()
        self.last_verification: Verification | None = None
        self._samples_drawn = 0

    def answer(self, context: Context) -> ActionChunk:
        """The action chunk for a context: future steps only, stamped with the context's stamp.

        Raises:
            ObservationError: the context's shape is not the bundle's.
        """
        self._check_shape(context)
        self.last_network_ns = 0
        if self.is_due(context.stamp_ns):
            self.adopt(self.draw(context))
        return self.go_on(context.stamp_ns)

    def is_due(self, stamp_ns: int) -> bool:
        """Whether the observation of this stamp is to be answered with a fresh chunk."""
        if self._plan is None:
            return True
        return round((stamp_ns - self._plan.stamp_ns) / self._spec.period_ns) >= self.schedule.replan_every_ticks

    def adopt(self, plan: ActionChunk) -> None:
        """Follow ``plan`` from now on."""
        self._plan = plan

    def go_on(self, stamp_ns: int) -> ActionChunk:
        """What is left of the standing plan at ``stamp_ns``, which may be nothing; its first step is then executed. There is a plan."""
        assert self._plan is not None
        chunk = self._plan.remaining(stamp_ns)
        if len(chunk.positions):
            self._executed.add(stamp_ns, chunk.positions[0])
        return chunk

    def draw(self, context: Context) -> ActionChunk:
        """Sample a fresh chunk, which is not followed yet. Raises ObservationError as ``answer``."""
        self._check_shape(context)
        action = self._spec.action
        executed = self._executed.before(context.stamp_ns)
        noise = self._draw_candidates(self.schedule.candidates if len(executed) else 1)
        given = continued_from(self._plan, executed, context.stamp_ns, self._spec, self.continuation)
        start_ns = time.perf_counter_ns()
        candidates = self.denoiser.sample_many(context.rows, noise, given)
        self.last_network_ns = time.perf_counter_ns() - start_ns
        self._samples_drawn += 1
        self.last_verification = (
            verify(candidates, action.past_steps, executed, self._scales) if len(candidates) > 1 else None
        )
        chosen = candidates[self.last_verification.chosen if self.last_verification else 0]
        return ActionChunk(context.stamp_ns, self._spec.period_ns, action.joints, chosen[action.past_steps :])

    def _check_shape(self, context: Context) -> None:
        expected = (self._spec.history.length, self._spec.row_width)
        if context.rows.shape != expected:
            raise ObservationError(
                f"context has shape {context.rows.shape}, the bundle reads {expected}: is it another policy's?"
            )

    def _draw_candidates(self, count: int) -> NDArray[np.float32]:
        shape = self.denoiser.chunk_shape
        return np.stack(
            [draw_noise(self._noise_seed, self._samples_drawn, shape, candidate) for candidate in range(count)]
        )


def draw_noise(seed: int, index: int, shape: tuple[int, int], candidate: int = 0) -> NDArray[np.float32]:
    """Standard normal noise of a candidate of the ``index``-th sample since the last reset; the same on every machine."""
    # Index and candidate go into the counter's highest words, so that no two streams ever overlap.
    generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, candidate, index]))
    return generator.standard_normal(shape, dtype=np.float32)
