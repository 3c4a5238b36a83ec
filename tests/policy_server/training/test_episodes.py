import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from policy_server.runtime.errors import DatasetError
from policy_server.runtime.preprocessing import preprocess
from policy_server.runtime.recording import read_episode, write_episode
from policy_server.training.episodes import Episodes, load_episodes
from policy_server.training.frames import INDEX_FILE, PIXELS_FILE, frames_folder
from tests.small_policy import FEATURES, random_episode, small_spec, write_small_dataset

NAMES = ("episode_0000000", "episode_0000001", "episode_0000002")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_small_dataset(tmp_path / "data")


def assert_pictures(episodes: Episodes, dataset: Path, names: tuple[str, ...] = NAMES) -> None:
    for camera in small_spec().cameras:
        recorded = [image for name in names for image in read_episode(dataset, name).images[camera.name]]
        expected = np.stack([preprocess(image, camera) for image in recorded])
        np.testing.assert_array_equal(episodes.images[camera.name][:], expected)


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_pictures_are_those_that_the_robot_would_see(dataset: Path) -> None:
    episodes = load_episodes(dataset, small_spec())
    assert_pictures(episodes, dataset)
    front = episodes.images["front"]
    np.testing.assert_array_equal(front[np.array([40, 3])], np.stack([front[40], front[3]]))


def test_states_are_joints_and_then_the_features_that_the_policy_reads(dataset: Path) -> None:
    with_features = load_episodes(dataset, small_spec(features=True, cameras={}))
    without = load_episodes(dataset, small_spec())
    joints = without.states.shape[1]
    assert with_features.states.shape[1] == joints + len(FEATURES) and with_features.images == {}
    np.testing.assert_array_equal(with_features.states[:, :joints], without.states)
    recorded = np.concatenate([read_episode(dataset, name).features for name in NAMES])
    np.testing.assert_array_equal(with_features.states[:, joints:], recorded)


def test_pictures_are_prepared_once(dataset: Path) -> None:
    load_episodes(dataset, small_spec())
    folder = frames_folder(dataset, small_spec().cameras[0])
    before = [(folder / name).stat().st_mtime_ns for name in (PIXELS_FILE, INDEX_FILE)]
    reports: list[str] = []
    load_episodes(dataset, small_spec(), on_progress=lambda what, done, total: reports.append(what))
    assert before == [(folder / name).stat().st_mtime_ns for name in (PIXELS_FILE, INDEX_FILE)]
    assert set(reports) == {"reading episodes"}


def test_episodes_that_come_later_are_added(dataset: Path) -> None:
    load_episodes(dataset, small_spec(), limit=2)
    pixels = frames_folder(dataset, small_spec().cameras[0]) / PIXELS_FILE
    size = pixels.stat().st_size
    assert_pictures(load_episodes(dataset, small_spec()), dataset)
    assert pixels.stat().st_size > size
    assert_pictures(load_episodes(dataset, small_spec(), limit=2), dataset, NAMES[:2])


def test_an_episode_that_was_collected_anew_is_prepared_anew(dataset: Path) -> None:
    load_episodes(dataset, small_spec())
    write_episode(dataset, NAMES[1], random_episode(13, 99), seed=1, success=True, reason="reached")
    assert_pictures(load_episodes(dataset, small_spec()), dataset)


def test_what_an_interrupted_writer_left_is_written_over(dataset: Path) -> None:
    load_episodes(dataset, small_spec(), limit=1)
    for camera in small_spec().cameras:
        with (frames_folder(dataset, camera) / PIXELS_FILE).open("ab") as stream:
            stream.write(b"half an episode")
    assert_pictures(load_episodes(dataset, small_spec()), dataset)


def test_two_processes_prepare_the_same_pictures_without_harm(dataset: Path) -> None:
    loaded: list[Episodes] = []
    threads = [threading.Thread(target=lambda: loaded.append(load_episodes(dataset, small_spec()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 3
    for episodes in loaded:
        assert_pictures(episodes, dataset)


def test_pixels_that_are_shorter_than_their_index_are_refused(dataset: Path) -> None:
    load_episodes(dataset, small_spec())
    pixels = frames_folder(dataset, small_spec().cameras[0]) / PIXELS_FILE
    os.truncate(pixels, pixels.stat().st_size - 1)
    with pytest.raises(DatasetError, match="delete"):
        load_episodes(dataset, small_spec())


@pytest.mark.parametrize("content", ["", '{"episode_0000000": {"start": 0', "[]", '{"episode_0000000": 3}'])
def test_an_index_of_pictures_that_cannot_be_read_is_named(dataset: Path, content: str) -> None:
    load_episodes(dataset, small_spec())
    folder = frames_folder(dataset, small_spec().cameras[0])
    (folder / INDEX_FILE).write_text(content)
    with pytest.raises(DatasetError, match=f"{INDEX_FILE}' is damaged.*delete"):
        load_episodes(dataset, small_spec())
    shutil.rmtree(folder)
    assert_pictures(load_episodes(dataset, small_spec()), dataset)


@pytest.mark.parametrize("file", ["actions.npy", "image_wrist.npy", "episode.yaml"])
def test_a_damaged_episode_is_refused_or_named_and_skipped(dataset: Path, file: str) -> None:
    flip_a_byte(dataset / NAMES[1] / file) if file != "episode.yaml" else (dataset / NAMES[1] / file).write_text("{")
    with pytest.raises(DatasetError, match=f"{NAMES[1]}.*damaged_episodes=skip"):
        load_episodes(dataset, small_spec())
    named: list[DatasetError] = []
    episodes = load_episodes(dataset, small_spec(), on_damage=named.append)
    assert len(named) == 1 and NAMES[1] in str(named[0])
    assert_pictures(episodes, dataset, (NAMES[0], NAMES[2]))


def test_a_half_written_episode_is_refused_or_named_and_skipped(dataset: Path) -> None:
    shutil.copytree(dataset / NAMES[0], dataset / f"{NAMES[0]}.partial")
    with pytest.raises(DatasetError, match="half-written"):
        load_episodes(dataset, small_spec())
    named: list[DatasetError] = []
    assert len(load_episodes(dataset, small_spec(), on_damage=named.append)) == 3
    assert len(named) == 1 and f"{NAMES[0]}.partial" in str(named[0])


def test_a_damaged_picture_does_not_hinder_a_policy_without_pictures(dataset: Path) -> None:
    flip_a_byte(dataset / NAMES[1] / "image_wrist.npy")
    assert len(load_episodes(dataset, small_spec(features=True, cameras={}))) == 3


def test_a_dataset_without_any_whole_episode_is_refused(dataset: Path) -> None:
    for name in NAMES:
        flip_a_byte(dataset / name / "joints.npy")
    with pytest.raises(DatasetError, match="no whole episode"):
        load_episodes(dataset, small_spec(), on_damage=lambda error: None)


def test_the_fingerprint_tells_other_episodes_and_other_content(dataset: Path, tmp_path: Path) -> None:
    first = load_episodes(dataset, small_spec()).fingerprint
    moved = shutil.copytree(dataset, tmp_path / "moved")
    assert load_episodes(moved, small_spec()).fingerprint == first
    assert load_episodes(dataset, small_spec(), limit=2).fingerprint != first
    write_episode(dataset, NAMES[1], random_episode(9, 99), seed=1, success=True, reason="reached")
    assert load_episodes(dataset, small_spec()).fingerprint != first


@pytest.mark.slow
def test_a_killed_writer_leaves_nothing_that_misleads_the_next(dataset: Path) -> None:
    """The process ends without a word in the middle of writing, as by SIGKILL."""
    script = f"""
import os
from pathlib import Path
from policy_server.training import episodes, frames
from tests.small_policy import small_spec
prepare, seen = frames.preprocess, []
def dying(image, camera):
    seen.append(image)
    if len(seen) == 20:
        os._exit(9)
    return prepare(image, camera)
frames.preprocess = dying
episodes.load_episodes(Path({str(dataset)!r}), small_spec())
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert_pictures(load_episodes(dataset, small_spec()), dataset)
