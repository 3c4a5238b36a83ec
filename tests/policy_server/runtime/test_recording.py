import dataclasses
from pathlib import Path

import numpy as np
import pytest

from policy_server.runtime.errors import DatasetError
from policy_server.runtime.recording import (
    check_episode,
    create_dataset,
    list_episodes,
    list_partial,
    read_dataset_info,
    read_episode,
    read_episode_info,
    write_episode,
)
from tests.small_policy import INFO, random_episode, write_small_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_small_dataset(tmp_path / "data", (6, 8))


def test_an_episode_comes_back_bit_for_bit(dataset: Path) -> None:
    episode, expected = read_episode(dataset, "episode_0000001"), random_episode(8, 1)
    np.testing.assert_array_equal(episode.stamps_ns, expected.stamps_ns)
    np.testing.assert_array_equal(episode.actions, expected.actions)
    np.testing.assert_array_equal(episode.features, expected.features)
    for camera, images in expected.images.items():
        np.testing.assert_array_equal(episode.images[camera], images)
    assert read_dataset_info(dataset) == INFO
    assert read_episode_info(dataset, "episode_0000001").seed == 1


def test_a_half_written_episode_is_not_listed(dataset: Path) -> None:
    (dataset / "episode_0000001").rename(dataset / "episode_0000001.partial")
    assert list_episodes(dataset) == ["episode_0000000"]
    assert list_partial(dataset) == ["episode_0000001.partial"]


def test_an_episode_that_lost_its_description_counts_as_half_written(dataset: Path) -> None:
    (dataset / "episode_0000000" / "episode.yaml").unlink()
    (dataset / "notes").mkdir()
    assert list_episodes(dataset) == ["episode_0000001"]
    assert list_partial(dataset) == ["episode_0000000"]


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


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        list_episodes(tmp_path / "nowhere")


def test_a_dataset_without_features_has_none_on_disk(tmp_path: Path) -> None:
    create_dataset(tmp_path, dataclasses.replace(INFO, features=()))
    arrays = dataclasses.replace(random_episode(5, 0), features=np.empty((5, 0), np.float32))
    write_episode(tmp_path, "one", arrays, seed=0, success=True, reason="")
    assert not (tmp_path / "one" / "features.npy").exists()
    assert read_episode(tmp_path, "one").features.shape == (5, 0)
    check_episode(tmp_path, "one")


def test_whole_episodes_pass_the_check(dataset: Path) -> None:
    for name in list_episodes(dataset):
        check_episode(dataset, name)


def rewritten(dataset: Path, **changes: object) -> Path:
    """The dataset with an episode ``bad``, whose sums fit but whose arrays do not."""
    arrays = dataclasses.replace(random_episode(6, 2), **changes)  # type: ignore[arg-type]
    write_episode(dataset, "bad", arrays, seed=2, success=True, reason="")
    return dataset


GOOD = random_episode(6, 2)
DAMAGE = {
    r"features.npy holds float32 \(6, 0\)": {"features": np.empty((6, 0), np.float32)},
    r"features.npy holds float32 \(6, 2\), dataset.yaml says float32 \(6, 3\)": {"features": GOOD.features[:, :2]},
    "joints.npy holds float64": {"joints": GOOD.joints.astype(np.float64)},
    "actions.npy holds a number that is not finite": {"actions": np.full_like(GOOD.actions, np.nan)},
    "stamps_ns.npy is empty or does not ascend": {"stamps_ns": GOOD.stamps_ns[::-1].copy()},
    "image_wrist.npy is missing": {"images": {"front": GOOD.images["front"]}},
    "image_side.npy is not in dataset.yaml": {"images": GOOD.images | {"side": GOOD.images["front"]}},
}


@pytest.mark.parametrize("message", DAMAGE)
def test_arrays_that_are_not_the_datasets_are_named_with_the_mend(dataset: Path, message: str) -> None:
    with pytest.raises(DatasetError, match=rf"episode 'bad' of .*{message}.*: delete its folder"):
        check_episode(rewritten(dataset, **DAMAGE[message]), "bad")


def test_pictures_can_be_left_out_of_the_check(dataset: Path) -> None:
    rewritten(dataset, images={})
    assert check_episode(dataset, "bad", images=False).images == {}


def test_an_array_that_cannot_be_read_is_named_without_looking_at_its_sum(dataset: Path) -> None:
    (dataset / "episode_0000000" / "actions.npy").write_bytes(b"nonsense")
    with pytest.raises(DatasetError, match=r"actions\.npy cannot be read"):
        read_episode(dataset, "episode_0000000", verify=False)
