"""Observation in, context out: encodes each frame once and remembers it beside the state."""

import time

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.bundle import Bundle
from policy_server.runtime.engine import Encoder
from policy_server.runtime.history import Context, ObservationHistory
from policy_server.runtime.observation import Observation


class Memory:
    """The history half of a running policy: encoder and observation history of one bundle.

    A bundle without cameras has no encoder; its rows hold the state alone.
    """

    def __init__(self, bundle: Bundle, *, provider: str = "cpu", threads: int = 1, max_gap_ns: int) -> None:
        spec = bundle.spec
        self._encoder = Encoder(bundle, provider=provider, threads=threads) if spec.cameras else None
        self._history = ObservationHistory(spec.history.offsets_ticks, spec.period_ns, spec.row_width - 1, max_gap_ns)
        self.last_network_ns = 0

    def observe(self, observation: Observation) -> Context:
        """Encode and remember one observation; returns the context at its stamp. Raises ObservationError, StampError."""
        self.remember(observation)
        return self.context()

    def remember(self, observation: Observation) -> None:
        """Encode and remember one observation. Raises ObservationError, StampError."""
        self._history.append(observation.stamp_ns, self._row(observation))

    def context(self) -> Context:
        """The context at the newest observation. Raises ObservationError before the first."""
        return self._history.context()

    def clear(self) -> None:
        """Forget the episode."""
        self._history.clear()

    def _row(self, observation: Observation) -> NDArray[np.float32]:
        """Embedding and state, float32 (E + S,)."""
        if self._encoder is None:
            return observation.state
        start_ns = time.perf_counter_ns()
        embedding = self._encoder.encode(observation.images)
        self.last_network_ns = time.perf_counter_ns() - start_ns
        return np.concatenate([embedding, observation.state])
