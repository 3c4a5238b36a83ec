import dataclasses
from pathlib import Path

import cv2
import pytest

from policy_server.dataset.description import describe
from policy_server.dataset.pictures import draw
from tests.policy_server.dataset.recorded import INFO, write_dataset

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("cameras", "pictures"), [(INFO.cameras, 4), ((), 3)], ids=["cameras", "features"])
def test_pictures_show_something(tmp_path: Path, cameras: tuple, pictures: int) -> None:
    dataset = write_dataset(tmp_path / "data", info=dataclasses.replace(INFO, cameras=cameras))
    files = draw(dataset, describe(dataset), tmp_path / "pictures")
    assert sorted(files) == sorted((tmp_path / "pictures").iterdir())
    assert len(files) == pictures
    for file in files:
        assert cv2.imread(str(file)).std() > 5


def test_a_single_short_episode_can_be_drawn(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", (1,))
    assert all(file.is_file() for file in draw(dataset, describe(dataset), tmp_path / "pictures"))
