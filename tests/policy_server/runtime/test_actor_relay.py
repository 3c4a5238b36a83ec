"""Each context is answered by the actor of its bundle; the new one begins where a chunk ends."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from policy_server.runtime.actor import Actor
from policy_server.runtime.actor_relay import ActorRelay
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.errors import BundleError
from policy_server.runtime.history import Context
from tests.second_bundle import write_second_bundle
from tests.synthetic_bundle import write_synthetic_bundle

PERIOD_NS = 100_000_000
PATIENCE_S = 20.0


@pytest.fixture
def running(tmp_path: Path) -> Bundle:
    return load_bundle(write_synthetic_bundle(tmp_path / "running", replan_every_ticks=3))


@pytest.fixture
def new(tmp_path: Path) -> Bundle:
    return load_bundle(write_synthetic_bundle(tmp_path / "new", context_length=2, future_steps=9, replan_every_ticks=2))


def context_of(bundle: Bundle, tick: int) -> Context:
    generator = np.random.default_rng(tick)
    shape = bundle.spec.history.length, bundle.spec.row_width
    return Context(tick * PERIOD_NS, generator.standard_normal(shape).astype(np.float32))


def settled(relay: ActorRelay, folder: Path | str) -> str:
    relay.prepare(str(folder))
    deadline_s = time.monotonic() + PATIENCE_S
    while relay.state.stage not in ("ready", "failed"):
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    return relay.state.stage


@pytest.mark.parametrize(("first_new", "boundary"), [(3, 3), (4, 6), (5, 6), (6, 6)])
def test_the_new_actor_begins_where_the_standing_chunk_ends(
    running: Bundle, new: Bundle, first_new: int, boundary: int
) -> None:
    relay, old, other = ActorRelay(running, Actor), Actor(running), Actor(new)
    assert settled(relay, new.path) == "ready"
    for tick in range(10):
        made_by = running if tick < first_new else new
        answer = relay.answer(context_of(made_by, tick), made_by.hash)
        # The old plan reads nothing but the time of a context that was not made for it.
        acting, its_own = (old, running) if tick < boundary else (other, new)
        expected = acting.answer(context_of(its_own, tick))
        assert answer.bundle_hash == (running.hash if tick < boundary else new.hash)
        assert answer.chunk.stamp_ns == expected.stamp_ns == tick * PERIOD_NS
        assert answer.chunk.positions.tobytes() == expected.positions.tobytes()
        sampled = tick % 3 == 0 if tick < boundary else (tick - boundary) % 2 == 0
        assert (answer.network_ns > 0) == sampled
    assert relay.bundle == new and relay.state.stage == "none" and new.hash[:12] in relay.state.last


def test_after_a_reset_the_new_actor_begins_at_once(running: Bundle, new: Bundle) -> None:
    relay = ActorRelay(running, Actor)
    assert settled(relay, new.path) == "ready"
    relay.answer(context_of(running, 0), running.hash)
    relay.clear()
    assert relay.answer(context_of(new, 1), new.hash).bundle_hash == new.hash


def test_the_old_bundles_contexts_are_answered_as_long_as_they_come(running: Bundle, new: Bundle) -> None:
    relay, old = ActorRelay(running, Actor), Actor(running)
    for tick in range(6):
        if tick == 2:
            assert settled(relay, new.path) == "ready"
        context = context_of(running, tick)
        answer = relay.answer(context, running.hash)
        assert answer.chunk.positions.tobytes() == old.answer(context).positions.tobytes()


def test_a_context_of_a_bundle_that_is_not_ready_is_refused(running: Bundle, new: Bundle) -> None:
    relay = ActorRelay(running, Actor)
    with pytest.raises(BundleError, match=f"comes from bundle {new.hash[:12]}, this node runs {running.hash[:12]}"):
        relay.answer(context_of(new, 0), new.hash)
    assert settled(relay, new.path) == "ready"
    relay.abandon()
    with pytest.raises(BundleError, match="the same bundle"):
        relay.answer(context_of(new, 0), new.hash)
    assert relay.answer(context_of(running, 0), running.hash).bundle_hash == running.hash


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda path: write_second_bundle(path, noise_gain=np.inf), "not finite"),
        (lambda path: write_synthetic_bundle(path, future_steps=2, replan_every_ticks=1), "replan_every_ticks is 3"),
        (lambda path: write_synthetic_bundle(path, task="press_count"), "task press_count"),
    ],
    ids=["infinite", "chunk-too-short", "task"],
)
def test_a_bundle_that_cannot_act_leaves_the_running_one(
    running: Bundle, tmp_path: Path, make: Callable[[Path], Path], complaint: str
) -> None:
    told: list[str] = []
    relay = ActorRelay(running, lambda bundle: Actor(bundle, replan_every_ticks=3), on_failure=told.append)
    assert settled(relay, make(tmp_path / "broken")) == "failed"
    assert complaint in relay.state.detail and relay.state.running == running.hash
    assert relay.answer(context_of(running, 0), running.hash).bundle_hash == running.hash
