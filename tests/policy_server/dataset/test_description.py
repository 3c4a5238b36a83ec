import dataclasses
from pathlib import Path

import numpy as np
import pytest

from policy_server.dataset.description import describe, lines, size_of
from policy_server.runtime.errors import DatasetError
from policy_server.runtime.recording import create_dataset
from tests.policy_server.dataset.recorded import INFO, JOINTS, LENGTHS, arrays, flip_last_byte, write_dataset


def test_a_dataset_is_counted(tmp_path: Path) -> None:
    description = describe(write_dataset(tmp_path))
    assert (description.episodes, description.ticks, description.successes) == (3, sum(LENGTHS), 2)
    assert description.hours == pytest.approx(sum(LENGTHS) / 10 / 3600)
    assert description.lengths == dict(zip([f"episode_100000{i}" for i in range(3)], LENGTHS, strict=True))
    assert [description.length_quantiles[share] for share in ("0%", "50%", "100%")] == [5, 7, 12]
    assert description.length_mean == 8
    assert description.size_bytes == sum(size_of(folder) for folder in tmp_path.glob("episode_*"))


def test_columns_are_those_of_all_ticks_together(tmp_path: Path) -> None:
    description = describe(write_dataset(tmp_path))
    episodes = [arrays(ticks, seed) for seed, ticks in enumerate(LENGTHS)]
    joints = np.concatenate([episode.joints for episode in episodes]).astype(np.float64)
    features = np.concatenate([episode.features for episode in episodes]).astype(np.float64)
    assert tuple(column.name for column in description.joints) == JOINTS
    np.testing.assert_allclose([column.mean for column in description.joints], joints.mean(axis=0))
    np.testing.assert_allclose([column.std for column in description.joints], joints.std(axis=0))
    np.testing.assert_allclose([column.minimum for column in description.features], features.min(axis=0))
    np.testing.assert_allclose([column.maximum for column in description.features], features.max(axis=0))


def test_damaged_and_half_written_episodes_are_named_and_not_counted(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path)
    flip_last_byte(dataset / "episode_1000000" / "joints.npy")
    (dataset / "episode_1000001").rename(dataset / "episode_1000001.partial")
    description = describe(dataset)
    assert list(description.lengths) == ["episode_1000002"]
    assert list(description.damaged) == ["episode_1000000"]
    assert description.half_written == ("episode_1000001.partial",)


def test_a_dataset_of_features_alone_is_described(tmp_path: Path) -> None:
    description = describe(write_dataset(tmp_path, info=dataclasses.replace(INFO, cameras=())))
    text = "\n".join(lines(description))
    assert "cameras    none" in text and "goal_x_m" in text


def test_a_dataset_without_a_whole_episode_is_an_error(tmp_path: Path) -> None:
    create_dataset(tmp_path, INFO)
    with pytest.raises(DatasetError, match="no whole episode"):
        describe(tmp_path)
