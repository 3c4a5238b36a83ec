import dataclasses
from pathlib import Path

import numpy as np
import pytest

from policy_server.runtime.errors import DatasetError
from policy_server.runtime.recording import (
    create_dataset,
    list_episodes,
    read_dataset_info,
    read_episode,
    read_episode_info,
)
from tests.small_policy import INFO, random_episode, write_small_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_small_dataset(tmp_path / "data", (6, 8))


def test_an_episode_comes_back_bit_for_bit(dataset: Path) -> None:
    episode, expected = read_episode(dataset, "episode_0000001"), random_episode(8, 1)
    np.testing.assert_array_equal(episode.stamps_ns, expected.stamps_ns)
    np.testing.assert_array_equal(episode.actions, expected.actions)
    for camera, images in expected.images.items():
        np.testing.assert_array_equal(episode.images[camera], images)
    assert read_dataset_info(dataset) == INFO
    assert read_episode_info(dataset, "episode_0000001").seed == 1


def test_a_half_written_episode_is_not_listed(dataset: Path) -> None:
    (dataset / "episode_0000001").rename(dataset / "episode_0000001.partial")
    assert list_episodes(dataset) == ["episode_0000000"]


def test_a_damaged_file_is_named(dataset: Path) -> None:
    file = dataset / "episode_0000000" / "actions.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(DatasetError, match=r"episode_0000000.*actions\.npy is missing or damaged"):
        read_episode(dataset, "episode_0000000")


def test_another_dataset_in_the_same_folder_is_refused(dataset: Path) -> None:
    create_dataset(dataset, INFO)
    with pytest.raises(DatasetError, match="holds another dataset"):
        create_dataset(dataset, dataclasses.replace(INFO, task="press_count"))


def test_a_folder_without_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no dataset at"):
        read_dataset_info(tmp_path)
