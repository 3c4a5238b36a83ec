"""Observation in, context out: encodes each frame once and remembers it."""

import time

import numpy as np

from policy_server.runtime.bundle import Bundle
from policy_server.runtime.engine import Encoder
from policy_server.runtime.history import Context, ObservationHistory
from policy_server.runtime.observation import Observation


class Memory:
    """The history half of a running policy: encoder and observation history of one bundle."""

    def __init__(self, bundle: Bundle, *, provider: str = "cpu", threads: int = 1, max_gap_ns: int) -> None:
        spec = bundle.spec
        self._encoder = Encoder(bundle, provider=provider, threads=threads)
        self._history = ObservationHistory(spec.history.offsets_ticks, spec.period_ns, spec.row_width - 1, max_gap_ns)
        self.last_network_ns = 0

    def observe(self, observation: Observation) -> Context:
        """Encode and remember one observation; returns the context at its stamp. Raises ObservationError, StampError."""
        start_ns = time.perf_counter_ns()
        embedding = self._encoder.encode(observation.images)
        self.last_network_ns = time.perf_counter_ns() - start_ns
        self._history.append(observation.stamp_ns, np.concatenate([embedding, observation.proprioception]))
        return self._history.context()

    def clear(self) -> None:
        """Forget the episode."""
        self._history.clear()
