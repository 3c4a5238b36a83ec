"""A sampler that takes time, in lockstep: how the arm moves between an observation and the chunk that answers it.

Simulated time is exact, so an injected delay is the same on every machine. There is one sampler: while it works on one observation the
next ones are only remembered. A chunk that is sampled at tick t leads the arm from tick t + delay on.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.actor import Actor
from policy_server.runtime.clock import NS_PER_MS
from policy_server.runtime.continuation import Continuation
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.history import Context

Execution = Literal["blocking", "latest", "real_time_chunking"]
EXECUTIONS: tuple[Execution, ...] = ("blocking", "latest", "real_time_chunking")


class InjectedDelayError(ConfigurationError):
    """A delay that cannot be simulated exactly."""


@dataclass(frozen=True)
class AsynchronousConfig:
    """How chunks are executed while the next one is sampled, and for how long that is.

    Attributes:
        execution: ``blocking``: after ``replan_every_ticks`` steps the arm rests until the next chunk is there, and then begins with its
            first step. ``latest``: the arm goes on with the standing chunk; the new one replaces it when it comes, and its steps that
            have passed are dropped. ``real_time_chunking``: the same, but the chunk was sampled so that it continues the standing one.
        delay_ms: from an observation to the chunk that answers it; whole policy ticks.
        warm_start: sampling steps left out, from the noised standing plan on.
    """

    execution: Execution = "latest"
    delay_ms: int = 0
    warm_start: int = 0

    def delay_ticks(self, period_ns: int) -> int:
        """Raises InjectedDelayError unless the delay is a number of whole ticks."""
        ticks, rest = divmod(self.delay_ms * NS_PER_MS, period_ns)
        if rest or ticks < 0:
            raise InjectedDelayError(
                f"a delay of {self.delay_ms} ms: chunks come at policy ticks, so give a multiple of {period_ns // NS_PER_MS} ms, 0 or more"
            )
        return ticks

    def continuation(self, period_ns: int) -> Continuation:
        """How the sampler continues the standing plan: it knows the delay. Raises InjectedDelayError."""
        ticks = self.delay_ticks(period_ns)
        if self.execution == "blocking":  # the arm waits for as long as it takes
            return Continuation(warm_start=self.warm_start)
        return Continuation(self.execution, ticks, self.warm_start)


@dataclass(frozen=True)
class _Pending:
    plan: ActionChunk
    arrives_ns: int


class DelayedActor:
    """Answers each tick's context with what leads the arm in that tick, a delay after it was sampled.

    Without delay and not ``blocking`` it answers what ``Actor.answer`` answers.

    Attributes:
        handed_over: whether a fresh chunk leads the arm from the newest tick on.
        leads: whether a chunk leads the arm in the newest tick; not before the first one, not while the arm rests between two.
    """

    def __init__(self, actor: Actor, config: AsynchronousConfig, period_ns: int) -> None:
        """Raises InjectedDelayError for a delay that is not whole ticks of ``period_ns``."""
        self._actor = actor
        self._blocking = config.execution == "blocking"
        self._delay_ns = config.delay_ticks(period_ns) * period_ns
        self.clear()

    def clear(self) -> None:
        """Forget the episode."""
        self._actor.clear()
        self._pending: _Pending | None = None
        self._newest: ActionChunk | None = None
        self.handed_over = self.leads = False

    def answer(self, context: Context) -> ActionChunk | None:
        """The chunk that leads the arm now, its steps after the context's stamp; None before the first one and when there are none left.

        Raises ObservationError as ``Actor.answer``.
        """
        now_ns = context.stamp_ns
        self.handed_over = False
        self._receive(now_ns)
        if self._pending is None and self._actor.is_due(now_ns):
            self._pending = _Pending(self._actor.draw(context), now_ns + self._delay_ns)
            if self._blocking and self._newest is not None:
                self._actor.adopt(self._rest(self._newest, now_ns))
            self._receive(now_ns)
        if self._newest is None and not self.handed_over:
            return None
        chunk = self._actor.go_on(now_ns)
        is_there = len(chunk.positions) > 0
        self.leads = is_there and not (self._blocking and self._pending is not None)
        if not is_there:
            return None
        self._newest = chunk
        return chunk

    def _receive(self, now_ns: int) -> None:
        """Follow the pending chunk if it has come."""
        pending = self._pending
        if pending is None or pending.arrives_ns > now_ns:
            return
        plan = pending.plan
        if self._blocking:
            plan = ActionChunk(now_ns, plan.period_ns, plan.joints, plan.positions)
        self._actor.adopt(plan)
        self._pending = None
        self.handed_over = True

    def _rest(self, newest: ActionChunk, now_ns: int) -> ActionChunk:
        """A plan that rests where the newest tick's step led, for as long as the delay lasts."""
        steps = self._delay_ns // newest.period_ns + 1
        return ActionChunk(now_ns, newest.period_ns, newest.joints, np.repeat(newest.positions[:1], steps, axis=0))
