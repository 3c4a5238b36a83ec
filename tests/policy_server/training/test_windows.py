from pathlib import Path

import numpy as np
import pytest

from policy_server.runtime.errors import DatasetError
from policy_server.runtime.history import ObservationHistory
from policy_server.runtime.observation import ObservationAssembler
from policy_server.runtime.preprocessing import preprocess
from policy_server.runtime.recording import read_episode
from policy_server.training.windows import draw_picks, gather_windows, load_episodes
from tests.small_policy import PERIOD_NS, small_spec, write_small_dataset
from tests.synthetic_bundle import JOINTS


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_small_dataset(tmp_path / "data")


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
            window = gather_windows(episodes, spec, [(number, tick)])
            frames = [{camera: images[frame] for camera, images in episodes.images.items()} for frame in window.frames]
            embeddings = np.stack([fingerprint(frame) for frame in frames])
            trained = np.concatenate([embeddings, episodes.joints[window.frames]], axis=1)[window.slots[0]]
            np.testing.assert_array_equal(rows, np.concatenate([window.ages_s[0][:, None], trained], axis=1))


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
        history.append(stamp_ns, np.concatenate([fingerprint(seen), observation.proprioception]))
        contexts.append(history.context().rows)
    return contexts


def test_actions_are_those_around_the_tick(dataset: Path) -> None:
    spec = small_spec()
    episodes = load_episodes(dataset, spec)
    window = gather_windows(episodes, spec, [(2, 10)])
    recorded = read_episode(dataset, "episode_0000002")
    np.testing.assert_array_equal(window.actions[0], recorded.actions[8:16])


def test_windows_never_mix_episodes(dataset: Path) -> None:
    spec = small_spec()
    episodes = load_episodes(dataset, spec)
    for episode in range(len(episodes)):
        start, end = episodes.starts[episode : episode + 2]
        for tick in range(end - start):
            frames = gather_windows(episodes, spec, [(episode, tick)]).frames
            assert start <= frames.min() and frames.max() == start + tick


def test_picks_of_one_episode_share_frames(dataset: Path) -> None:
    spec = small_spec()
    episodes = load_episodes(dataset, spec)
    picks = draw_picks(episodes, 64, 16, 2, np.random.default_rng(0))
    assert len(picks) == 64
    window = gather_windows(episodes, spec, picks)
    assert len(window.frames) <= 4 * 11  # four episodes of at most 22 ticks, every other of which is looked at
    assert window.slots.shape == (64, 4)


def test_every_tick_can_be_drawn(dataset: Path) -> None:
    episodes = load_episodes(dataset, small_spec())
    picks = {pick for seed in range(40) for pick in draw_picks(episodes, 64, 8, 2, np.random.default_rng(seed))}
    assert len(picks) == len(episodes.stamps_ns)


def test_an_empty_dataset_is_refused(tmp_path: Path) -> None:
    write_small_dataset(tmp_path / "data", ())
    with pytest.raises(DatasetError, match="no episode"):
        load_episodes(tmp_path / "data", small_spec())
