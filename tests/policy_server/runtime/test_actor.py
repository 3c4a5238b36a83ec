from pathlib import Path

import numpy as np
import pytest

from policy_server.runtime.actor import Actor, draw_noise
from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.errors import ObservationError
from policy_server.runtime.history import Context
from policy_server.runtime.memory import Memory
from policy_server.runtime.observation import Observation
from tests.synthetic_bundle import JOINTS, write_synthetic_bundle

PERIOD_NS = 100_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_synthetic_bundle(tmp_path / "bundle", replan_every_ticks=3)


def observation(tick: int, joint: float = 0.5) -> Observation:
    picture = np.full((96, 96, 3), tick % 256, np.uint8)
    return Observation(tick * PERIOD_NS, {"front": picture}, np.full(len(JOINTS), joint, np.float32))


def contexts(folder: Path, ticks: int) -> list[Context]:
    memory = Memory(load_bundle(folder), max_gap_ns=3 * PERIOD_NS)
    return [memory.observe(observation(tick)) for tick in range(ticks)]


def test_every_context_is_answered_with_its_own_stamp(folder: Path) -> None:
    actor = Actor(load_bundle(folder))
    for tick, context in enumerate(contexts(folder, 8)):
        chunk = actor.answer(context)
        assert chunk.stamp_ns == tick * PERIOD_NS
        assert len(chunk.positions) == 6 - tick % 3


def test_between_samples_the_standing_plan_goes_on_in_absolute_time(folder: Path) -> None:
    actor = Actor(load_bundle(folder))
    first, second, third, fourth = (actor.answer(context) for context in contexts(folder, 4))
    np.testing.assert_array_equal(second.positions, first.positions[1:])
    np.testing.assert_array_equal(third.times_ns(), first.times_ns()[2:])
    assert not np.array_equal(fourth.positions[:3], first.positions[3:])


def test_the_network_runs_only_when_a_sample_is_due(folder: Path) -> None:
    actor = Actor(load_bundle(folder))
    ran = []
    for context in contexts(folder, 6):
        actor.answer(context)
        ran.append(actor.last_network_ns > 0)
    assert ran == [True, False, False, True, False, False]


def test_after_a_reset_the_same_episode_gives_the_same_chunks(folder: Path) -> None:
    actor = Actor(load_bundle(folder), noise_seed=3)
    first = [actor.answer(context).positions for context in contexts(folder, 7)]
    actor.clear()
    again = [actor.answer(context).positions for context in contexts(folder, 7)]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_context_of_another_shape_is_refused(folder: Path) -> None:
    with pytest.raises(ObservationError, match="another policy"):
        Actor(load_bundle(folder)).answer(Context(0, np.zeros((4, 5), np.float32)))


def test_noise_differs_between_seeds_and_samples_and_nothing_is_shared() -> None:
    draws = [draw_noise(seed, index, (16, 8)).ravel() for seed in (0, 1) for index in range(20)]
    values = np.concatenate(draws)
    assert len(np.unique(values)) > 0.99 * len(values)  # float32 draws coincide by chance now and then
    np.testing.assert_array_equal(draws[5], draw_noise(0, 5, (16, 8)).ravel())
