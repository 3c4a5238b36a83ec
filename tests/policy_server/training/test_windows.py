import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_server.runtime.errors import ConfigurationError, DatasetError
from policy_server.runtime.history import ObservationHistory
from policy_server.runtime.manifest import HistorySpec
from policy_server.runtime.observation import ObservationAssembler
from policy_server.runtime.preprocessing import preprocess
from policy_server.runtime.recording import read_episode
from policy_server.runtime.windows import action_ticks, select_context
from policy_server.training.episodes import Episodes, load_episodes
from policy_server.training.windows import Windows, chunk_extremes, draw_newest, gather_windows, lay_out
from tests.small_policy import PERIOD_NS, small_spec, write_small_dataset
from tests.synthetic_bundle import JOINTS


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_small_dataset(tmp_path / "data")


def gather(episodes: Episodes, newest: list[int], length: int | None = None) -> Windows:
    spec = small_spec()
    return gather_windows(episodes, lay_out(episodes, spec), spec, np.array(newest), length)


def fingerprint(images: dict[str, np.ndarray]) -> np.ndarray:
    """Stands for the encoder: a few numbers that change with any pixel's place or value."""
    weights = {name: np.arange(image.size, dtype=np.float64) % 97 for name, image in images.items()}
    return np.array([image.ravel() @ weights[name] for name, image in images.items()], np.float32)


def test_a_training_window_is_the_window_that_the_robot_sees(dataset: Path) -> None:
    spec = small_spec()
    episodes = load_episodes(dataset, spec)
    for number, name in enumerate(("episode_0000000", "episode_0000001", "episode_0000002")):
        recorded = read_episode(dataset, name)
        live = live_contexts(recorded, spec)
        for tick, rows in enumerate(live):
            window = gather(episodes, [int(episodes.starts[number]) + tick])
            frames = [
                {camera: images[frame] for camera, images in episodes.images.items()} for frame in window.ticks[0]
            ]
            embeddings = np.stack([fingerprint(frame) for frame in frames])
            trained = np.concatenate([window.ages_s[0][:, None], embeddings, episodes.states[window.ticks[0]]], axis=1)
            np.testing.assert_array_equal(rows, trained)


def live_contexts(recorded, spec) -> list[np.ndarray]:  # type: ignore[no-untyped-def]
    """The recorded frames, sent through the robot's assembler, preprocessing and history."""
    assembler = ObservationAssembler(spec, camera_skew_ns=0, joint_skew_ns=0)
    history = ObservationHistory(spec.history.offsets_ticks, spec.period_ns, 2 + len(JOINTS), 3 * PERIOD_NS)
    contexts = []
    for tick, stamp_ns in enumerate(recorded.stamps_ns.tolist()):
        assembler.add_joints(stamp_ns, JOINTS, recorded.joints[tick].tolist())
        for camera in spec.cameras:
            assembler.add_image(camera.name, stamp_ns, recorded.images[camera.name][tick])
        observation = assembler.pop()
        assert observation is not None
        seen = {camera.name: preprocess(observation.images[camera.name], camera) for camera in spec.cameras}
        history.append(stamp_ns, np.concatenate([fingerprint(seen), observation.state]))
        contexts.append(history.context().rows)
    return contexts


def irregular_episodes(gaps_ms: list[list[int]]) -> Episodes:
    """One episode per list of gaps between its ticks; every state and action is another number."""
    stamps = [1_000_000 * np.cumsum([7_000, *gaps]) for gaps in gaps_ms]
    starts = np.cumsum([0, *map(len, stamps)])
    numbers = np.arange(starts[-1], dtype=np.float32)[:, None]
    return Episodes(starts, np.concatenate(stamps), numbers, -numbers, {}, "")


@given(
    gaps_ms=st.lists(st.lists(st.integers(1, 420), max_size=12), min_size=1, max_size=5),
    offsets=st.sets(st.integers(1, 30), max_size=6),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_windows_of_a_batch_are_those_of_the_shared_windowing_number_for_number(
    gaps_ms: list[list[int]], offsets: set[int], data: st.DataObject
) -> None:
    episodes = irregular_episodes(gaps_ms)
    spec = dataclasses.replace(small_spec(), history=HistorySpec((*sorted(offsets, reverse=True), 0), 0))
    newest = np.array(data.draw(st.lists(st.integers(0, len(episodes.stamps_ns) - 1), min_size=1, max_size=8)))
    windows = gather_windows(episodes, lay_out(episodes, spec), spec, newest)
    for row, tick in enumerate(newest):
        number = int(episodes.episode_of(newest)[row])
        start, end = episodes.starts[number : number + 2]
        indices, ages_s = select_context(
            episodes.stamps_ns[start:end], tick - start, spec.history.offsets_ticks, spec.period_ns
        )
        np.testing.assert_array_equal(windows.ticks[row], start + indices)
        np.testing.assert_array_equal(windows.ages_s[row], ages_s)
        chunk = action_ticks(tick - start, spec.action.past_steps, spec.action.future_steps, end - start)
        np.testing.assert_array_equal(windows.actions[row], episodes.actions[start + chunk])


@given(length=st.integers(1, 4), newest=st.integers(0, 45))
@settings(deadline=None)
def test_a_shorter_context_is_the_newest_part_of_the_full_one(length: int, newest: int) -> None:
    episodes = irregular_episodes([[100] * 14, [100] * 8, [100] * 21])
    full, short = gather(episodes, [newest]), gather(episodes, [newest], length)
    np.testing.assert_array_equal(short.ticks, full.ticks[:, -length:])
    np.testing.assert_array_equal(short.ages_s, full.ages_s[:, -length:])
    np.testing.assert_array_equal(short.actions, full.actions)


def test_actions_are_those_around_the_tick(dataset: Path) -> None:
    episodes = load_episodes(dataset, small_spec())
    window = gather(episodes, [int(episodes.starts[2]) + 10])
    recorded = read_episode(dataset, "episode_0000002")
    np.testing.assert_array_equal(window.actions[0], recorded.actions[8:16])


def test_windows_never_mix_episodes(dataset: Path) -> None:
    episodes = load_episodes(dataset, small_spec())
    newest = np.arange(len(episodes.stamps_ns))
    windows = gather(episodes, newest.tolist())
    first = episodes.starts[episodes.episode_of(newest)]
    assert (windows.ticks.min(1) >= first).all() and (windows.ticks.max(1) == newest).all()


def test_windows_of_one_episode_share_frames(dataset: Path) -> None:
    episodes = load_episodes(dataset, small_spec())
    newest = draw_newest(episodes, 64, 16, 2, np.random.default_rng(0))
    assert len(newest) == 64
    windows = gather(episodes, newest.tolist())
    assert (
        len(np.unique(windows.ticks)) <= 4 * 11
    )  # four episodes of at most 22 ticks, every other of which is looked at
    assert windows.ticks.shape == (64, 4)


def test_every_tick_can_be_drawn(dataset: Path) -> None:
    episodes = load_episodes(dataset, small_spec())
    drawn = {int(tick) for seed in range(40) for tick in draw_newest(episodes, 64, 8, 2, np.random.default_rng(seed))}
    assert drawn == set(range(len(episodes.stamps_ns)))


@pytest.mark.parametrize("relative", [False, True])
def test_the_extremes_are_those_of_each_row_of_all_chunks(dataset: Path, relative: bool) -> None:
    spec = small_spec()
    episodes = load_episodes(dataset, spec)
    newest = np.arange(len(episodes.stamps_ns))
    chunks = gather(episodes, newest.tolist()).actions
    if relative:
        chunks = chunks - episodes.states[:, None, : len(JOINTS)]
    np.testing.assert_allclose(chunk_extremes(episodes, spec, relative), [chunks.min(0), chunks.max(0)], atol=1e-6)


def test_an_empty_dataset_is_refused(tmp_path: Path) -> None:
    write_small_dataset(tmp_path / "data", ())
    with pytest.raises(DatasetError, match="no episode"):
        load_episodes(tmp_path / "data", small_spec())


def test_more_episodes_than_there_are_cannot_be_asked_for(dataset: Path) -> None:
    with pytest.raises(ConfigurationError, match="has 3"):
        load_episodes(dataset, small_spec(), limit=4)
