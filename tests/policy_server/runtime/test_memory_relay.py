"""The memory changes to another bundle: its contexts are those of one that saw everything, and none is missing."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.memory import Memory
from policy_server.runtime.memory_relay import MemoryRelay
from policy_server.runtime.observation import Observation
from policy_server.runtime.successor import SwapError
from tests.second_bundle import write_second_bundle
from tests.synthetic_bundle import JOINTS, write_synthetic_bundle

PERIOD_NS = 100_000_000
GAP_NS = 5 * PERIOD_NS
PATIENCE_S = 20.0


def observations(count: int, *, seed: int = 0, first: int = 1, jitter: float = 0.0) -> Iterator[Observation]:
    generator = np.random.default_rng(seed)
    for tick in range(first, first + count):
        stamp_ns = tick * PERIOD_NS + int(jitter * PERIOD_NS * generator.uniform(-1, 1))
        picture = generator.integers(0, 256, (96, 96, 3), dtype=np.uint8)
        yield Observation(stamp_ns, {"front": picture}, generator.standard_normal(len(JOINTS)).astype(np.float32))


def relay_of(bundle: Bundle, frames_limit_bytes: int = 10**8) -> MemoryRelay:
    return MemoryRelay(bundle, max_gap_ns=GAP_NS, frames_limit_bytes=frames_limit_bytes)


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.001)


def make_ready(relay: MemoryRelay, folder: Path) -> None:
    relay.prepare(str(folder))
    until(lambda: relay.state.stage in ("ready", "failed"))
    assert relay.state.stage == "ready", relay.state.detail


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Looks 6 ticks back."""
    return load_bundle(
        write_synthetic_bundle(tmp_path_factory.mktemp("running") / "bundle", context_length=4, stride_ticks=2)
    )


@pytest.fixture(scope="module")
def shorter(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Another encoder that looks 4 ticks back."""
    return load_bundle(write_second_bundle(tmp_path_factory.mktemp("shorter") / "bundle", context_length=5))


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Another encoder that looks 12 ticks back."""
    folder = tmp_path_factory.mktemp("longer") / "bundle"
    return load_bundle(write_second_bundle(folder, context_length=5, stride_ticks=3))


@settings(max_examples=12)
@given(before=st.integers(0, 20), meanwhile=st.integers(0, 5), jitter=st.sampled_from([0.0, 0.2]))
def test_contexts_after_the_take_over_are_those_of_a_memory_that_saw_everything(
    running: Bundle, shorter: Bundle, before: int, meanwhile: int, jitter: float
) -> None:
    relay, old, new = relay_of(running), Memory(running, max_gap_ns=GAP_NS), Memory(shorter, max_gap_ns=GAP_NS)
    hashes: list[str] = []
    for tick, observation in enumerate(observations(1000, jitter=jitter)):
        if tick == before:
            relay.prepare(str(shorter.path))
        if tick == before + meanwhile:
            until(lambda: relay.state.stage == "ready")
            relay.take_over()
        context, bundle_hash = relay.observe(observation)
        expected = {running.hash: old.observe(observation), shorter.hash: new.observe(observation)}
        assert context.rows.tobytes() == expected[bundle_hash].rows.tobytes()
        assert context.stamp_ns == observation.stamp_ns
        hashes.append(bundle_hash)
        if hashes.count(shorter.hash) == 8:
            break
        time.sleep(0.001)
    assert [hash_ for hash_, _ in itertools.groupby(hashes)] in ([running.hash, shorter.hash], [shorter.hash])
    assert running.hash not in hashes[-8:] and shorter.hash not in hashes[: before + meanwhile]


def test_no_observation_waits_for_the_new_encoder(running: Bundle, shorter: Bundle) -> None:
    relay = relay_of(running)
    for observation in observations(8):
        relay.observe(observation)
    make_ready(relay, shorter.path)
    relay.take_over()
    rebuilt = relay._successor.part  # type: ignore[union-attr]
    assert rebuilt is not None
    with rebuilt._lock:  # it encodes a frame
        (observation,) = observations(1, first=9)
        assert relay.observe(observation)[1] == running.hash
        assert relay.state.stage == "taking over"
    hashes = iter(relay.observe(observation)[1] for observation in observations(1000, first=10))
    until(lambda: next(hashes) == shorter.hash)
    assert relay.state.running == shorter.hash and relay.state.stage == "none"
    assert "its memory is complete" in relay.state.last


def test_a_longer_memory_is_filled_with_the_oldest_frame_and_says_so(running: Bundle, longer: Bundle) -> None:
    relay, late = relay_of(running), Memory(longer, max_gap_ns=GAP_NS)
    seen = list(observations(30))
    for observation in seen[:20]:
        relay.observe(observation)
    make_ready(relay, longer.path)
    assert "reaches 1.2 s back, frames of 0.6 s are there" in relay.state.detail
    relay.take_over()
    for observation in seen[13:20]:  # six ticks and the newest one: what was kept
        late.observe(observation)
    for observation in seen[20:]:
        context, bundle_hash = relay.observe(observation)
        assert bundle_hash == longer.hash
        assert context.rows.tobytes() == late.observe(observation).rows.tobytes()
    assert "the oldest one stands for the 0.5 s before" in relay.state.last
    assert len(relay.frames) == 13


def test_what_a_reset_forgot_is_in_neither_memory(running: Bundle, shorter: Bundle) -> None:
    relay, new = relay_of(running), Memory(shorter, max_gap_ns=GAP_NS)
    for observation in observations(8):
        relay.observe(observation)
    make_ready(relay, shorter.path)
    relay.clear()
    relay.take_over()
    for observation in observations(3, seed=1, first=5000):
        context, bundle_hash = relay.observe(observation)
        assert bundle_hash == shorter.hash
        assert context.rows.tobytes() == new.observe(observation).rows.tobytes()


def test_a_bundle_without_cameras_needs_no_pictures(tmp_path: Path) -> None:
    running, new = (
        load_bundle(write_synthetic_bundle(tmp_path / name, cameras=(), context_length=length))
        for name, length in (("running", 6), ("new", 3))
    )
    relay, expected = relay_of(running, frames_limit_bytes=0), Memory(new, max_gap_ns=GAP_NS)
    for observation in observations(8):
        stated = Observation(observation.stamp_ns, {}, observation.state)
        relay.observe(stated)
        expected.observe(stated)
    make_ready(relay, new.path)
    relay.take_over()
    (observation,) = observations(1, first=9)
    stated = Observation(observation.stamp_ns, {}, observation.state)
    context, bundle_hash = relay.observe(stated)
    assert bundle_hash == new.hash and context.rows.tobytes() == expected.observe(stated).rows.tobytes()


def test_without_raw_frames_a_bundle_with_cameras_is_refused(running: Bundle, shorter: Bundle) -> None:
    told: list[str] = []
    relay = MemoryRelay(running, max_gap_ns=GAP_NS, frames_limit_bytes=0, on_failure=told.append)
    relay.prepare(str(shorter.path))
    until(lambda: relay.state.stage == "failed" and bool(told))
    assert "frames_mb is 0" in relay.state.detail and "the running one goes on" in told[0]
    (observation,) = observations(1)
    assert relay.observe(observation)[1] == running.hash


def test_an_encoder_that_answers_no_numbers_leaves_the_running_one(running: Bundle, tmp_path: Path) -> None:
    broken = write_second_bundle(tmp_path / "broken", white=0.0)
    relay = relay_of(running)
    for observation in observations(3):
        relay.observe(observation)
    relay.prepare(str(broken))
    until(lambda: relay.state.stage == "failed")
    assert "not finite" in relay.state.detail
    (observation,) = observations(1, first=4)
    assert relay.observe(observation)[1] == running.hash


def test_an_encoder_that_fails_at_the_take_over_leaves_the_running_one(
    running: Bundle, shorter: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = relay_of(running)
    for observation in observations(3):
        relay.observe(observation)
    make_ready(relay, shorter.path)
    relay.take_over()
    rebuilt = relay._successor.part  # type: ignore[union-attr]
    monkeypatch.setattr(rebuilt, "observe", _fails)
    seen = list(observations(3, first=4))
    assert [relay.observe(observation)[1] for observation in seen] == [running.hash] * 3
    assert relay.state.stage == "failed" and relay.state.detail == "the encoder broke"


def _fails(_observation: Observation) -> None:
    raise SwapError("the encoder broke")


def test_only_a_bundle_that_is_ready_takes_over(running: Bundle, shorter: Bundle) -> None:
    relay = relay_of(running)
    with pytest.raises(SwapError, match="no bundle is ready to take over: set next_bundle first"):
        relay.take_over()
    relay.prepare("/nowhere")
    until(lambda: relay.state.stage == "failed")
    with pytest.raises(SwapError, match="/nowhere is failed: no bundle at"):
        relay.take_over()
    make_ready(relay, shorter.path)
    relay.abandon()
    with pytest.raises(SwapError):
        relay.take_over()
