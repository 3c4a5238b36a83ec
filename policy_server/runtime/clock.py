"""Time as integers. The core never reads a clock: callers pass ``now_ns``."""

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


def seconds_to_ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def ns_to_seconds(nanoseconds: int) -> float:
    return nanoseconds / NS_PER_S
