"""Streams of stamps: what is even passes, what is late, early, repeated or unstamped does not."""

from hypothesis import given, settings
from hypothesis import strategies as st

from policy_server.runtime.clock import NS_PER_MS, NS_PER_S
from ros_nodes.doctor.finding import Level
from ros_nodes.doctor.stamps import Stream, check_rate, check_stamps

BEGIN_NS = 1_700_000_000 * NS_PER_S


def stream(rate_hz: float, count: int = 60, age_ms: float = 5.0) -> Stream:
    stamps = tuple(BEGIN_NS + round(index * NS_PER_S / rate_hz) for index in range(count))
    return Stream(stamps, tuple(stamp + round(age_ms * NS_PER_MS) for stamp in stamps))


@settings(max_examples=40)
@given(rate_hz=st.floats(1.0, 200.0), age_ms=st.floats(0.0, 90.0), count=st.integers(2, 200))
def test_an_even_fresh_stream_passes_at_any_rate(rate_hz: float, age_ms: float, count: int) -> None:
    even = stream(rate_hz, count, age_ms)
    assert check_rate("camera", even, rate_hz).level == Level.OK
    assert check_stamps("camera", even, 100.0).level == Level.OK


@settings(max_examples=40)
@given(ahead_ms=st.floats(2.1, 10_000.0), at=st.integers(0, 59))
def test_one_stamp_in_the_future_is_enough(ahead_ms: float, at: int) -> None:
    even = stream(10.0)
    received = list(even.received_ns)
    received[at] = even.stamps_ns[at] - round(ahead_ms * NS_PER_MS)
    assert check_stamps("camera", Stream(even.stamps_ns, tuple(received)), 100.0).level == Level.FAIL


def test_a_slow_camera_fails_and_one_that_drops_frames_warns() -> None:
    assert check_rate("camera", stream(15.0), 30.0).level == Level.FAIL
    assert check_rate("camera", stream(28.0), 30.0).level == Level.WARN
    even = stream(30.0)
    dropped = Stream(even.stamps_ns[:20] + even.stamps_ns[23:], even.received_ns[:20] + even.received_ns[23:])
    assert check_rate("camera", dropped, 30.0).level == Level.WARN


def test_old_pictures_warn_and_point_to_the_calibration() -> None:
    finding = check_stamps("camera", stream(30.0, age_ms=250.0), 100.0)
    assert finding.level == Level.WARN and "250.0 ms" in finding.found and "ros_nodes.calibrate" in finding.mend


def test_unstamped_and_repeated_frames_fail() -> None:
    assert check_stamps("camera", Stream((0, 0, 0), (1, 2, 3)), 100.0).found == "0"
    even = stream(30.0, count=4)
    repeated = Stream((*even.stamps_ns[:2], *even.stamps_ns[1:3]), even.received_ns)
    assert check_stamps("camera", repeated, 100.0).found == "1 of 4 do not rise"


def test_all_stamps_alike_have_no_rate() -> None:
    still = Stream((BEGIN_NS,) * 3, (BEGIN_NS,) * 3)
    assert check_rate("camera", still, 30.0).level == Level.FAIL
