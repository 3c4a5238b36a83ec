import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from policy_server.dataset.verification import all_episodes, delete, find_damage
from policy_server.runtime.errors import DatasetError
from policy_server.runtime.recording import EpisodeArrays, write_episode
from tests.policy_server.dataset.recorded import arrays, flip_last_byte, write_dataset

NAME = "episode_1000001"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data")


def test_a_whole_dataset_has_no_damage(dataset: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert find_damage(dataset, all_episodes(dataset), lambda done, total: seen.append((done, total))) == {}
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: flip_last_byte(folder / "image_wrist.npy"), "image_wrist.npy is missing or damaged"),
        (lambda folder: flip_last_byte(folder / "stamps_ns.npy"), "stamps_ns.npy is missing or damaged"),
        (lambda folder: (folder / "actions.npy").unlink(), "actions.npy is missing or damaged"),
        (lambda folder: (folder / "features.npy").write_bytes(b""), "features.npy is missing or damaged"),
        (lambda folder: (folder / "episode.yaml").write_text("ticks: ["), "not valid YAML"),
        (lambda folder: (folder / "episode.yaml").unlink(), "half-written"),
    ],
)
def test_a_damaged_file_is_named(dataset: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(dataset / NAME)
    found = find_damage(dataset, all_episodes(dataset))
    assert list(found) == [NAME]
    assert NAME in found[NAME] and said in found[NAME]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda a: dataclasses.replace(a, joints=np.full_like(a.joints, np.nan)), "joints.npy holds a number that is"),
        (lambda a: dataclasses.replace(a, stamps_ns=a.stamps_ns[::-1].copy()), "does not ascend"),
        (lambda a: dataclasses.replace(a, actions=a.actions[:, :7]), "actions.npy holds float32 (12, 7)"),
        (lambda a: dataclasses.replace(a, joints=a.joints.astype(np.float64)), "joints.npy holds float64"),
        (lambda a: dataclasses.replace(a, images={"front": a.images["front"]}), "image_wrist.npy is missing"),
    ],
)
def test_content_that_does_not_fit_is_named(
    dataset: Path, spoil: Callable[[EpisodeArrays], EpisodeArrays], said: str
) -> None:
    write_episode(dataset, NAME, spoil(arrays(12, 1)), seed=1, success=True, reason="")
    found = find_damage(dataset, all_episodes(dataset))
    assert list(found) == [NAME] and said in found[NAME]


def test_an_interrupted_recording_is_named(dataset: Path) -> None:
    (dataset / NAME).rename(dataset / f"{NAME}.partial")
    assert list(find_damage(dataset, all_episodes(dataset))) == [f"{NAME}.partial"]


def test_only_what_is_named_is_deleted(dataset: Path) -> None:
    (dataset / "notes").mkdir()
    delete(dataset, [NAME])
    assert sorted(folder.name for folder in dataset.iterdir() if folder.is_dir()) == [
        "episode_1000000",
        "episode_1000002",
        "notes",
    ]


def test_a_folder_that_is_no_dataset_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no dataset at"):
        all_episodes(tmp_path)
