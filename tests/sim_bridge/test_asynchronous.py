"""A sampler that takes time, tick by tick, with a graph made by hand: who leads the arm, and from when on."""

from pathlib import Path

import numpy as np
import pytest

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.actor import Actor
from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.continuation import Continuation
from policy_server.runtime.history import Context
from policy_server.runtime.inpainting import InpaintingError
from policy_server.runtime.resources import resource
from ros_nodes.franka.settings import load_guard_settings
from sim_bridge.asynchronous import AsynchronousConfig, DelayedActor, Execution, InjectedDelayError
from sim_bridge.episode import EngineConfig, EpisodeResult, PolicyEpisodes, world_for
from sim_bridge.task_config import load_task_config
from tests.continuable_bundle import write_continuable_bundle
from tests.synthetic_bundle import write_synthetic_bundle

PERIOD_NS = 100_000_000
EVERY = 3  # ticks between two samples, of chunks with 6 future steps


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_continuable_bundle(tmp_path / "bundle", noise_gain=0.5, replan_every_ticks=EVERY)


def context(tick: int) -> Context:
    """The joints stand at 10 rad per tick, so that an answer says which observation it answers."""
    rows = np.zeros((4, 12), np.float32)
    rows[-1, 4:] = 10 * tick
    return Context(tick * PERIOD_NS, rows)


def delayed(folder: Path, execution: Execution, delay_ms: int) -> DelayedActor:
    config = AsynchronousConfig(execution, delay_ms)
    actor = Actor(load_bundle(folder), continuation=config.continuation(PERIOD_NS))
    return DelayedActor(actor, config, PERIOD_NS)


def answered(chunk: ActionChunk | None) -> int | None:
    """Which observation the chunk's last step answers; the noise is far below 10 rad."""
    return None if chunk is None else round(float(chunk.positions[-1].mean()) / 10)


@pytest.mark.parametrize("execution", ["blocking", "latest", "real_time_chunking"])
def test_without_delay_every_execution_samples_and_follows_in_the_same_tick(folder: Path, execution: Execution) -> None:
    actor, plain = delayed(folder, execution, 0), Actor(load_bundle(folder))
    for tick in range(9):
        chunk, expected = actor.answer(context(tick)), plain.answer(context(tick))
        assert chunk is not None and chunk.stamp_ns == expected.stamp_ns
        assert len(chunk.positions) == len(expected.positions)
        assert (actor.handed_over, actor.leads) == (tick % EVERY == 0, True)
        if execution != "real_time_chunking":
            np.testing.assert_array_equal(chunk.positions, expected.positions)


@pytest.mark.parametrize("execution", ["latest", "real_time_chunking"])
def test_a_chunk_leads_a_delay_after_its_observation_without_the_steps_that_passed(
    folder: Path, execution: Execution
) -> None:
    actor = delayed(folder, execution, 200)
    led, left, handed = [], [], []
    for tick in range(10):
        chunk = actor.answer(context(tick))
        led.append(answered(chunk))
        left.append(len(chunk.positions) if chunk else 0)
        handed.append(actor.handed_over)
    assert led == [None, None, 0, 0, 0, 3, 3, 3, 6, 6]
    assert left == [0, 0, 4, 3, 2, 4, 3, 2, 4, 3]
    assert [tick for tick, fresh in enumerate(handed) if fresh] == [2, 5, 8]


def test_one_sampler_works_on_one_observation_at_a_time(folder: Path) -> None:
    actor = delayed(folder, "latest", 400)  # longer than the schedule's 3 ticks
    led = [answered(actor.answer(context(tick))) for tick in range(14)]
    # The chunk of tick 0 covers the ticks up to 5; then nothing leads until that of tick 4 comes.
    assert led == [None] * 4 + [0, 0] + [None] * 2 + [4, 4] + [None] * 2 + [8, 8]


def test_real_time_chunking_comes_with_the_steps_that_led_meanwhile(folder: Path) -> None:
    actor = delayed(folder, "real_time_chunking", 200)
    drawn: list[ActionChunk] = []
    draw = actor._actor.draw
    actor._actor.draw = lambda seen: drawn.append(draw(seen)) or drawn[-1]  # type: ignore
    led = []
    for tick in range(6):
        chunk = actor.answer(context(tick))
        led.append(None if chunk is None else chunk.positions[0])
    second = drawn[1]  # of the observation of tick 3
    assert led[3] is not None and led[4] is not None
    np.testing.assert_allclose(second.positions[:2], [led[3], led[4]], atol=1e-5)


def test_blocking_rests_at_its_last_step_and_begins_with_the_first_of_the_next(folder: Path) -> None:
    actor = delayed(folder, "blocking", 200)
    chunks, leads = [], []
    for tick in range(8):
        chunks.append(actor.answer(context(tick)))
        leads.append(actor.leads)
    assert leads == [False, False, True, True, True, False, False, True]
    first = [chunk.positions[0] for chunk in chunks[2:7] if chunk is not None]
    np.testing.assert_array_equal(first[3:], [first[2], first[2]])
    assert chunks[2] is not None and len(chunks[2].positions) == 6
    last = chunks[7]
    assert last is not None and answered(last) == 5 and len(last.positions) == 6


def test_clearing_forgets_the_chunk_that_is_on_its_way(folder: Path) -> None:
    actor = delayed(folder, "latest", 200)
    first = [answered(actor.answer(context(tick))) for tick in range(5)]
    actor.answer(context(5))
    actor.clear()
    assert [answered(actor.answer(context(tick))) for tick in range(5)] == first


@pytest.mark.parametrize("delay_ms", [250, -100])
def test_a_delay_that_is_not_whole_ticks_is_refused(delay_ms: int) -> None:
    with pytest.raises(InjectedDelayError, match=f"a delay of {delay_ms} ms.*a multiple of 100 ms"):
        AsynchronousConfig(delay_ms=delay_ms).delay_ticks(PERIOD_NS)


def test_the_sampler_is_told_the_delay_unless_the_arm_waits_for_it() -> None:
    assert AsynchronousConfig("latest", 300).continuation(PERIOD_NS) == Continuation("latest", 3)
    assert AsynchronousConfig("blocking", 300, 2).continuation(PERIOD_NS) == Continuation(warm_start=2)
    assert AsynchronousConfig("real_time_chunking", 300).continuation(PERIOD_NS) == Continuation(
        "real_time_chunking", 3
    )


def episode(folder: Path, engine: EngineConfig, seed: int = 3) -> tuple[EpisodeResult, np.ndarray]:
    """Its result and the joints tick by tick; of a policy that sees features, so that nothing is drawn."""
    task, bundle = load_task_config("reach_cued"), load_bundle(folder)
    episodes = PolicyEpisodes(bundle, task, load_guard_settings(resource("config/arm.yaml")), engine)
    joints: list[np.ndarray] = []
    result = episodes.run(world_for(bundle, task), seed, lambda world: joints.append(world.joint_positions()))
    return result, np.stack(joints)


@pytest.fixture
def seeing(tmp_path: Path) -> Path:
    return write_continuable_bundle(
        tmp_path / "seeing", noise_gain=0.02, cameras=(), features=("hand_x_m",), replan_every_ticks=EVERY
    )


def test_an_episode_without_delay_is_that_without_the_option_bit_for_bit(seeing: Path) -> None:
    plain, joints = episode(seeing, EngineConfig())
    judged, same = episode(seeing, EngineConfig(asynchronous=AsynchronousConfig()))
    np.testing.assert_array_equal(joints, same)
    assert plain.smoothness is None and judged.smoothness is not None
    assert (plain.reason, plain.ticks) == (judged.reason, judged.ticks)
    assert judged.smoothness.hand_overs == -(-judged.ticks // EVERY)


def test_an_episode_begins_at_rest_until_the_first_chunk_is_there(seeing: Path) -> None:
    _, joints = episode(seeing, EngineConfig(asynchronous=AsynchronousConfig("latest", 500)))
    _, again = episode(seeing, EngineConfig(asynchronous=AsynchronousConfig("latest", 500)))
    np.testing.assert_array_equal(joints, again)
    moved = np.abs(joints - joints[0]).max(axis=1)
    assert moved[5] < 1e-3 < moved[8]


def test_an_old_bundle_runs_late_but_does_not_continue(tmp_path: Path) -> None:
    old = write_synthetic_bundle(tmp_path / "old", cameras=(), features=("hand_x_m",))
    result, _ = episode(old, EngineConfig(asynchronous=AsynchronousConfig("latest", 200)))
    assert result.smoothness is not None
    with pytest.raises(InpaintingError, match="export it again"):
        episode(old, EngineConfig(asynchronous=AsynchronousConfig("real_time_chunking", 200)))
