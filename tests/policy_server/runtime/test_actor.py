from pathlib import Path

import numpy as np
import pytest

from policy_server.runtime.actor import Actor, Schedule, draw_noise
from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.engine import Denoiser
from policy_server.runtime.errors import ConfigurationError, ObservationError
from policy_server.runtime.history import Context
from policy_server.runtime.memory import Memory
from policy_server.runtime.observation import Observation
from policy_server.runtime.verification import ExecutedPast, VerificationError, past_errors
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


def test_one_candidate_is_the_sample_of_the_plain_noise(folder: Path) -> None:
    actor, denoiser = Actor(load_bundle(folder), noise_seed=5), Denoiser(load_bundle(folder))
    for tick, context in enumerate(contexts(folder, 7)):
        if tick % 3 == 0:
            generator = np.random.Generator(np.random.Philox(key=5, counter=[0, 0, 0, tick // 3]))
            sampled = denoiser.sample(context.rows, generator.standard_normal((8, 8), dtype=np.float32))
        np.testing.assert_array_equal(actor.answer(context).positions, sampled[2 + tick % 3 :])
        assert actor.last_verification is None


def test_the_candidate_that_agrees_best_with_the_executed_past_is_answered(folder: Path) -> None:
    bundle = load_bundle(folder)
    actor, denoiser = Actor(bundle, noise_seed=5, candidates=6, replan_every_ticks=1), Denoiser(bundle)
    executed: list[np.ndarray] = []
    chosen = []
    for tick, context in enumerate(contexts(folder, 9)):
        answer = actor.answer(context).positions
        drawn = [denoiser.sample(context.rows, draw_noise(5, tick, (8, 8), candidate)) for candidate in range(6)]
        if tick == 0:
            assert actor.last_verification is None  # nothing was executed yet
            np.testing.assert_array_equal(answer, drawn[0][2:])
        else:
            past = np.stack(executed[-2:])
            errors = [
                np.mean(((candidate[2 - len(past) : 2] - past) / bundle.spec.verification.scales) ** 2)
                for candidate in drawn
            ]
            chosen.append(int(np.argmin(errors)))
            np.testing.assert_array_equal(answer, drawn[chosen[-1]][2:])
            assert actor.last_verification is not None
            np.testing.assert_allclose(actor.last_verification.errors, errors, rtol=1e-4)
        executed.append(answer[0])
    assert len(set(chosen)) > 1


def test_the_standing_plan_is_part_of_the_executed_past(folder: Path) -> None:
    actor = Actor(load_bundle(folder), candidates=4)  # samples every three ticks
    answers = [actor.answer(context).positions for context in contexts(folder, 3)]
    np.testing.assert_array_equal([answer[0] for answer in answers], answers[0][:3])
    fourth = contexts(folder, 4)[-1]
    actor.answer(fourth)
    assert actor.last_verification is not None and len(actor.last_verification.errors) == 4
    executed = ExecutedPast(np.array([2, 1]), answers[0][1:3])
    drawn = Denoiser(load_bundle(folder)).sample_many(
        fourth.rows, np.stack([draw_noise(0, 1, (8, 8), candidate) for candidate in range(4)])
    )
    scales = np.array(load_bundle(folder).spec.verification.scales, np.float32)
    np.testing.assert_array_equal(actor.last_verification.errors, past_errors(drawn, 2, executed, scales))


def test_a_reset_forgets_what_was_executed(folder: Path) -> None:
    actor = Actor(load_bundle(folder), candidates=5, replan_every_ticks=1)
    first = [actor.answer(context).positions for context in contexts(folder, 6)]
    assert actor.last_verification is not None
    actor.clear()
    # Later stamps than before the reset, as in simulated time, and near enough that an old record would be read.
    actor.answer(contexts(folder, 7)[-1])
    assert actor.last_verification is None
    actor.clear()
    for context, positions in zip(contexts(folder, 6), first, strict=True):
        np.testing.assert_array_equal(actor.answer(context).positions, positions)


def test_a_tick_that_is_shown_twice_changes_nothing(folder: Path) -> None:
    once, twice = (Actor(load_bundle(folder), candidates=5, replan_every_ticks=2) for _ in range(2))
    for context in contexts(folder, 8):
        expected = once.answer(context).positions
        for _ in range(2):
            np.testing.assert_array_equal(twice.answer(context).positions, expected)


def test_without_word_the_bundle_says_how_many_candidates(tmp_path: Path) -> None:
    bundle = load_bundle(write_synthetic_bundle(tmp_path / "bundle", candidates=7))
    assert Actor(bundle).schedule == Schedule(2, 7)
    assert Actor(bundle, replan_every_ticks=3, candidates=1).schedule == Schedule(3, 1)


def test_a_schedule_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    bundle = load_bundle(write_synthetic_bundle(tmp_path / "bundle", past_steps=0))
    with pytest.raises(VerificationError, match="no past actions"):
        Actor(bundle, candidates=2)
    for every in (0, 7):
        with pytest.raises(ConfigurationError, match=f"replan_every_ticks is {every}.*give 1 to 6"):
            Actor(bundle, replan_every_ticks=every)


def test_a_context_of_another_shape_is_refused(folder: Path) -> None:
    with pytest.raises(ObservationError, match="another policy"):
        Actor(load_bundle(folder)).answer(Context(0, np.zeros((4, 5), np.float32)))


def test_noise_differs_between_seeds_samples_and_candidates_and_nothing_is_shared() -> None:
    draws = [
        draw_noise(seed, index, (16, 8), candidate).ravel()
        for seed in (0, 1)
        for index in range(20)
        for candidate in range(3)
    ]
    values = np.concatenate(draws)
    assert len(np.unique(values)) > 0.99 * len(values)  # float32 draws coincide by chance now and then
    np.testing.assert_array_equal(draws[15], draw_noise(0, 5, (16, 8)).ravel())
