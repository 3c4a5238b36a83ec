"""Raw frames are kept for as long as a memory looks back, and never beyond their limit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from policy_server.runtime.observation import Observation
from policy_server.runtime.raw_frames import RawFrames
from policy_server.runtime.windows import select_context

PERIOD_NS = 100
BYTES = 12


def seen(stamp_ns: int) -> Observation:
    return Observation(stamp_ns, {"front": np.zeros((2, 2, 3), np.uint8)}, np.zeros(1, np.float32))


def filled(stamps_ns: list[int], reach_ns: int, limit_bytes: int = 10**9) -> RawFrames:
    frames = RawFrames(reach_ns, limit_bytes)
    for stamp_ns in stamps_ns:
        frames.add(seen(stamp_ns))
    return frames


def stamps_of(frames: RawFrames) -> list[int]:
    """Every kept observation, as a memory that looks back for ever is given them."""
    stamps, newest = [], None
    while True:
        observation, _ = frames.next_after(newest, 10**12)
        if observation is None:
            return stamps
        newest = observation.stamp_ns
        stamps.append(newest)


def test_the_newest_observation_outside_of_the_reach_is_kept_too() -> None:
    assert stamps_of(filled([0, 100, 205, 300, 400], reach_ns=200)) == [100, 205, 300, 400]
    assert stamps_of(filled([0, 100, 200, 300, 400], reach_ns=200)) == [200, 300, 400]
    assert stamps_of(filled([0, 100], reach_ns=0)) == [100]


def test_pictures_never_take_more_than_their_limit_but_the_newest_is_there() -> None:
    frames = filled(list(range(0, 1000, 100)), reach_ns=600, limit_bytes=3 * BYTES)
    assert stamps_of(frames) == [700, 800, 900] and frames.size_bytes == 3 * BYTES
    assert frames.missing_ns(600) == 400 and frames.missing_ns(200) == 0
    assert stamps_of(filled([0, 100, 200], reach_ns=600, limit_bytes=0)) == [200]


def test_an_episode_that_just_began_misses_nothing() -> None:
    frames = filled([0, 100], reach_ns=600)
    assert frames.missing_ns(10**6) == 0
    frames.clear()
    assert len(frames) == frames.size_bytes == frames.span_ns == 0
    assert frames.next_after(None, 600) == (None, False)


def test_a_longer_reach_keeps_from_now_on_and_a_shorter_one_drops() -> None:
    frames = filled(list(range(0, 1000, 100)), reach_ns=200)
    frames.set_reach(500)
    frames.add(seen(1000))
    assert stamps_of(frames) == [700, 800, 900, 1000]
    frames.set_reach(100)
    assert stamps_of(frames) == [900, 1000]


def test_a_memory_that_begins_is_given_only_what_it_needs_and_begins_anew_after_a_gap() -> None:
    frames = filled(list(range(0, 1000, 100)), reach_ns=500)
    first, anew = frames.next_after(None, 200)
    assert first is not None and first.stamp_ns == 700 and anew
    following, anew = frames.next_after(700, 200)
    assert following is not None and following.stamp_ns == 800 and not anew
    after_gap, anew = frames.next_after(100, 200)
    assert after_gap is not None and after_gap.stamp_ns == 700 and anew
    assert frames.next_after(900, 200) == (None, False)
    assert frames.count_after(700) == 2 and frames.count_after(None) == 6


@given(
    steps=st.lists(st.integers(75, 260), min_size=1, max_size=40),
    offsets=st.lists(st.integers(1, 12), min_size=0, max_size=5, unique=True),
    extra=st.integers(0, 5),
)
def test_the_context_of_the_kept_frames_is_that_of_all_frames(steps: list[int], offsets: list[int], extra: int) -> None:
    offsets_ticks = [*sorted(offsets, reverse=True), 0]
    stamps = np.cumsum([1000, *steps]).tolist()
    frames = filled(stamps, reach_ns=(offsets_ticks[0] + extra) * PERIOD_NS)
    kept = stamps_of(frames)
    everything, ages_s = select_context(stamps, len(stamps) - 1, offsets_ticks, PERIOD_NS)
    chosen, kept_ages_s = select_context(kept, len(kept) - 1, offsets_ticks, PERIOD_NS)
    assert [stamps[i] for i in everything] == [kept[i] for i in chosen]
    assert ages_s.tobytes() == kept_ages_s.tobytes()
    assert frames.missing_ns(offsets_ticks[0] * PERIOD_NS) == 0
