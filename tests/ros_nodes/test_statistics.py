"""Rates and latencies over a sliding window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_server.runtime.clock import NS_PER_MS, NS_PER_S
from ros_nodes.statistics import LatencyWindow, RateMeter


@given(st.integers(1, 200), st.integers(2, 50))
def test_even_events_give_their_rate(rate_hz: int, count: int) -> None:
    meter = RateMeter(window_ns=10**15)
    for index in range(count):
        meter.tick(index * NS_PER_S // rate_hz)
    assert meter.rate_hz((count - 1) * NS_PER_S // rate_hz) == pytest.approx(rate_hz, rel=1e-6)
    assert meter.count == count


def test_old_events_leave_the_rate_but_not_the_count() -> None:
    meter = RateMeter(window_ns=NS_PER_S)
    for stamp_ns in (0, 1, 2):
        meter.tick(stamp_ns)
    assert meter.rate_hz(10 * NS_PER_S) == 0.0
    assert meter.age_s(10 * NS_PER_S) is None
    assert meter.count == 3


def test_percentiles_are_of_the_newest_latencies() -> None:
    window = LatencyWindow(size=3)
    assert window.percentiles_ms() == {}
    for latency_ms in (1000, 1, 2, 3):
        window.add(latency_ms * NS_PER_MS)
    assert window.percentiles_ms()["p50_ms"] == pytest.approx(2.0)
    assert window.percentiles_ms()["p99_ms"] < 3.1
