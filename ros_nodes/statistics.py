"""Rates and latencies over a sliding window. Plain Python; callers pass the time."""

from collections import deque

import numpy as np

from policy_server.runtime.clock import NS_PER_S, ns_to_seconds


class RateMeter:
    """Counts events and gives their mean rate over the last ``window_ns``."""

    def __init__(self, window_ns: int = 5 * NS_PER_S) -> None:
        self._window_ns = window_ns
        self._times_ns: deque[int] = deque()
        self.count = 0

    def tick(self, now_ns: int) -> None:
        """Count one event."""
        self.count += 1
        self._times_ns.append(now_ns)
        self._forget(now_ns)

    def rate_hz(self, now_ns: int) -> float:
        """Events per second over the window; 0.0 while fewer than two lie in it."""
        self._forget(now_ns)
        if len(self._times_ns) < 2:
            return 0.0
        span_ns = self._times_ns[-1] - self._times_ns[0]
        return (len(self._times_ns) - 1) / ns_to_seconds(span_ns) if span_ns > 0 else 0.0

    def age_s(self, now_ns: int) -> float | None:
        """Seconds since the last event in the window; None when there is none."""
        self._forget(now_ns)
        return ns_to_seconds(now_ns - self._times_ns[-1]) if self._times_ns else None

    def _forget(self, now_ns: int) -> None:
        while self._times_ns and now_ns - self._times_ns[0] > self._window_ns:
            self._times_ns.popleft()


class LatencyWindow:
    """Percentiles of the last ``size`` latencies."""

    def __init__(self, size: int = 200) -> None:
        self._latencies_ns: deque[int] = deque(maxlen=size)

    def add(self, latency_ns: int) -> None:
        self._latencies_ns.append(latency_ns)

    def percentiles_ms(self) -> dict[str, float]:
        """p50, p95 and p99 in ms; empty before the first latency."""
        if not self._latencies_ns:
            return {}
        values = np.percentile(np.array(self._latencies_ns, np.float64) / 1e6, (50, 95, 99))
        return {f"p{rank}_ms": float(value) for rank, value in zip((50, 95, 99), values, strict=True)}
