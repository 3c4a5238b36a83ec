"""Rate, jitter and age of a stream of stamped messages."""

from dataclasses import dataclass

import numpy as np

from policy_server.runtime.clock import NS_PER_MS, NS_PER_S
from ros_nodes.doctor.finding import Finding, fail, ok, warn

_AHEAD_NS = 2 * NS_PER_MS
_RATE_FAIL, _RATE_WARN = 0.8, 0.95


@dataclass(frozen=True)
class Stream:
    """A stream as it arrived: stamps and times of arrival, int ns of the wall clock, in order of arrival."""

    stamps_ns: tuple[int, ...]
    received_ns: tuple[int, ...]

    @property
    def rate_hz(self) -> float:
        """Mean rate by the stamps; 0 with fewer than two."""
        span_ns = self.stamps_ns[-1] - self.stamps_ns[0] if len(self.stamps_ns) > 1 else 0
        return (len(self.stamps_ns) - 1) * NS_PER_S / span_ns if span_ns > 0 else 0.0

    @property
    def longest_gap_ms(self) -> float:
        """Between two stamps."""
        return float(np.max(np.diff(self.stamps_ns))) / NS_PER_MS if len(self.stamps_ns) > 1 else 0.0

    def ages_ms(self) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        """Age of each message when it arrived, float64 (n,)."""
        return (np.array(self.received_ns) - np.array(self.stamps_ns)) / NS_PER_MS


def check_stamps(name: str, stream: Stream, oldest_ms: float) -> Finding:
    """Do the stamps rise, lie in the past, and not too far? ``oldest_ms``: what is still normal at arrival."""
    what = f"{name}: stamps"
    stamps = np.array(stream.stamps_ns, np.int64)
    if (stamps <= 0).any():
        return fail(what, "0", "its driver does not stamp: have it fill header.stamp with the time of capture")
    still = int((np.diff(stamps) <= 0).sum())
    if still:
        return fail(
            what,
            f"{still} of {len(stamps)} do not rise",
            "its driver repeats frames or stamps them on arrival in bursts",
        )
    ages_ms = stream.ages_ms()
    youngest_ms, median_ms, latest_ms = (float(np.percentile(ages_ms, rank)) for rank in (0, 50, 99))
    if youngest_ms < -_AHEAD_NS / NS_PER_MS:
        return fail(
            what,
            f"up to {-youngest_ms:.1f} ms in the future",
            "the computers' clocks differ: see the time service above, or have the driver stamp on this machine's clock",
        )
    found = f"{median_ms:.1f} ms old on arrival, p99 {latest_ms:.1f} ms"
    if median_ms <= oldest_ms:
        return ok(what, found)
    return warn(
        what,
        f"{found}, normal is up to {oldest_ms:.0f} ms",
        "a queue in the driver, a busy network, or clocks that differ; what stays must be compensated: python -m ros_nodes.calibrate",
    )


def check_rate(name: str, stream: Stream, wanted_hz: float) -> Finding:
    """Does it come as often as configured, without gaps of more than two periods?"""
    what = f"{name}: rate"
    rate_hz = stream.rate_hz
    found = f"{rate_hz:.1f} Hz of {wanted_hz:g} Hz, longest gap {stream.longest_gap_ms:.0f} ms"
    mend = "exposure longer than the period, USB 2, or a busy machine; lower the rate in the driver or mend that"
    if rate_hz < _RATE_FAIL * wanted_hz:
        return fail(what, found, mend)
    late = stream.longest_gap_ms > 2.5 * 1000.0 / wanted_hz
    return warn(what, found, mend) if late or rate_hz < _RATE_WARN * wanted_hz else ok(what, found)
