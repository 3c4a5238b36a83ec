"""Our dataset as a LeRobot dataset and back."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from policy_server.dataset.lerobot.exporting import ExportOptions, export_lerobot
from policy_server.dataset.lerobot.importing import ImportOptions, import_lerobot, plan_import
from policy_server.dataset.lerobot.layout import LeRobotError
from policy_server.dataset.video import CODECS, VideoError
from policy_server.runtime.errors import DatasetError
from policy_server.runtime.recording import (
    CameraShape,
    DatasetInfo,
    check_episode,
    list_episodes,
    read_dataset_info,
    read_episode_info,
)
from tests.policy_server.dataset.recorded import INFO, LENGTHS, flip_last_byte, write_dataset

LEVELS = 2.0  # mean difference that the codecs' defaults leave in a smooth picture, of 255


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data")


def round_trip(dataset: Path, folder: Path, options: ExportOptions) -> Path:
    assert export_lerobot(dataset, folder / "lerobot", options) == len(list_episodes(dataset))
    plan = plan_import(folder / "lerobot", ImportOptions())
    assert plan.left_out == ()
    assert import_lerobot(folder / "lerobot", folder / "back", plan) == 0
    return folder / "back"


@pytest.mark.parametrize(
    "options",
    [
        ExportOptions(),
        ExportOptions(codec="av1"),
        ExportOptions(key_every=30),
        ExportOptions(data_file_mb=0, video_file_mb=0),
    ],
    ids=["h264", "av1", "few key frames", "a file per episode"],
)
def test_a_dataset_comes_back_exactly_and_its_pictures_within_the_codecs_loss(
    dataset: Path, tmp_path: Path, options: ExportOptions
) -> None:
    back = round_trip(dataset, tmp_path, options)
    assert read_dataset_info(back) == read_dataset_info(dataset)
    assert list_episodes(back) == list_episodes(dataset)
    for name in list_episodes(dataset):
        was, now = check_episode(dataset, name), check_episode(back, name)
        for field in ("stamps_ns", "joints", "actions", "features"):
            np.testing.assert_array_equal(getattr(now, field), getattr(was, field))
        for camera, images in was.images.items():
            difference = np.abs(now.images[camera].astype(int)[:, None] - images).mean(axis=(2, 3, 4))
            # Each picture is nearest to its own and not to a neighbour, at the episode's borders too.
            np.testing.assert_array_equal(difference.argmin(axis=1), np.arange(len(images)))
            assert difference.diagonal().max() < LEVELS
        facts = [dataclasses.replace(read_episode_info(folder, name), files={}) for folder in (dataset, back)]
        assert facts[0] == facts[1]


def test_a_dataset_of_features_alone_comes_back(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", info=dataclasses.replace(INFO, cameras=()))
    back = round_trip(dataset, tmp_path, ExportOptions())
    assert read_dataset_info(back).features == INFO.features
    assert not (tmp_path / "lerobot" / "videos").exists()


def test_a_dataset_without_features_comes_back(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", info=dataclasses.replace(INFO, features=()))
    assert read_dataset_info(round_trip(dataset, tmp_path, ExportOptions())) == read_dataset_info(dataset)


def test_the_export_says_what_lerobot_wants_to_know(dataset: Path, tmp_path: Path) -> None:
    export_lerobot(dataset, tmp_path / "lerobot", ExportOptions(instruction="Press the button"))
    info = json.loads((tmp_path / "lerobot/meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"]) == ("v3.0", 10)
    assert (info["total_episodes"], info["total_frames"]) == (3, sum(LENGTHS))
    assert info["features"]["observation.state"]["names"] == list(INFO.proprioception_joints)
    assert info["features"]["observation.images.front"]["shape"] == [64, 80, 3]
    statistics = json.loads((tmp_path / "lerobot/meta/stats.json").read_text())
    assert set(statistics) == set(info["features"])
    tasks = pq.read_table(tmp_path / "lerobot/meta/tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert tasks.column("task").to_pylist() == ["Press the button"]


def test_episodes_follow_one_another_in_rows_and_in_time(dataset: Path, tmp_path: Path) -> None:
    export_lerobot(dataset, tmp_path / "lerobot", ExportOptions())
    rows = pq.read_table(tmp_path / "lerobot/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    borders = np.cumsum([0, *LENGTHS])
    assert [row["dataset_from_index"] for row in rows] == borders[:-1].tolist()
    assert [row["dataset_to_index"] for row in rows] == borders[1:].tolist()
    key = "videos/observation.images.front"
    np.testing.assert_allclose([row[f"{key}/from_timestamp"] for row in rows], borders[:-1] / 10)
    np.testing.assert_allclose([row[f"{key}/to_timestamp"] for row in rows], borders[1:] / 10)
    data = pq.read_table(tmp_path / "lerobot/data/chunk-000/file-000.parquet")
    assert data.column("index").to_pylist() == list(range(sum(LENGTHS)))
    np.testing.assert_allclose(data.column("timestamp").to_numpy()[: LENGTHS[0]], np.arange(LENGTHS[0]) / 10, atol=1e-6)


def test_full_files_are_followed_by_the_next_and_chunks_too(dataset: Path, tmp_path: Path) -> None:
    export_lerobot(dataset, tmp_path / "lerobot", ExportOptions(data_file_mb=0, video_file_mb=0))
    for folder in ("data", "videos/observation.images.wrist"):
        files = sorted(file.stem for file in (tmp_path / "lerobot" / folder).glob("chunk-000/*"))
        assert files == ["file-000", "file-001", "file-002"]


def interrupt(done: int, total: int) -> None:
    if done == 2:
        raise KeyboardInterrupt


def test_an_interrupted_export_leaves_nothing_and_starts_anew(dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "lerobot"
    with pytest.raises(KeyboardInterrupt):
        export_lerobot(dataset, output, ExportOptions(), on_progress=interrupt)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data"]
    (tmp_path / "lerobot.partial" / "data").mkdir(parents=True)  # as kill -9 leaves it
    (tmp_path / "lerobot.partial" / "data" / "stale").touch()
    assert export_lerobot(dataset, output, ExportOptions()) == 3
    assert not (output / "data" / "stale").exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data", "lerobot"]


def test_what_is_there_is_not_overwritten(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "lerobot").mkdir()
    with pytest.raises(LeRobotError, match="exists: choose another --output"):
        export_lerobot(dataset, tmp_path / "lerobot", ExportOptions())


@pytest.mark.parametrize(
    "damage",
    [
        lambda dataset: flip_last_byte(dataset / "episode_1000001" / "image_front.npy"),
        lambda dataset: (dataset / "episode_1000001" / "episode.yaml").unlink(),
    ],
)
def test_a_damaged_episode_is_never_exported(dataset: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(dataset)
    with pytest.raises(DatasetError, match=r"episode_1000001.*--skip-damaged"):
        export_lerobot(dataset, tmp_path / "strict", ExportOptions())
    told: list[DatasetError] = []
    assert export_lerobot(dataset, tmp_path / "lerobot", ExportOptions(), told.append) == 2
    assert "episode_1000001" in str(told[0])
    import_lerobot(tmp_path / "lerobot", tmp_path / "back", plan_import(tmp_path / "lerobot", ImportOptions()))
    assert list_episodes(tmp_path / "back") == ["episode_1000000", "episode_1000002"]


def test_a_dataset_without_a_whole_episode_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(LeRobotError, match="no whole episode"):
        export_lerobot(write_dataset(tmp_path / "data", ()), tmp_path / "lerobot", ExportOptions())


@pytest.mark.parametrize(
    ("info", "options", "error", "said"),
    [
        (dataclasses.replace(INFO, rate_hz=12.5), ExportOptions(), LeRobotError, "whole frames per second"),
        (INFO, ExportOptions(codec="theora"), VideoError, f"choose {' or '.join(CODECS)}"),
        (INFO, ExportOptions(codec="av1", crf=1000), VideoError, "cannot encode"),
        (
            dataclasses.replace(INFO, cameras=(CameraShape("front", 9, 9),)),
            ExportOptions(),
            VideoError,
            "needs even sizes",
        ),
    ],
)
def test_what_lerobot_or_the_codec_cannot_hold_is_refused(
    tmp_path: Path, info: DatasetInfo, options: ExportOptions, error: type[Exception], said: str
) -> None:
    dataset = write_dataset(tmp_path / "data", info=info)
    with pytest.raises(error, match=said):
        export_lerobot(dataset, tmp_path / "lerobot", options)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data"]


def test_a_video_that_was_cut_off_is_named_on_import(dataset: Path, tmp_path: Path) -> None:
    export_lerobot(dataset, tmp_path / "lerobot", ExportOptions(video_file_mb=0))
    video = tmp_path / "lerobot/videos/observation.images.front/chunk-000/file-001.mp4"
    video.write_bytes(video.read_bytes()[:600])
    plan = plan_import(tmp_path / "lerobot", ImportOptions())
    with pytest.raises(DatasetError, match=r"file-001\.mp4.*--skip-damaged"):
        import_lerobot(tmp_path / "lerobot", tmp_path / "strict", plan)
    told: list[DatasetError] = []
    assert import_lerobot(tmp_path / "lerobot", tmp_path / "back", plan, told.append) == 1
    assert list_episodes(tmp_path / "back") == ["episode_1000000", "episode_1000002"]


def test_a_name_that_leads_out_of_the_dataset_is_not_used(dataset: Path, tmp_path: Path) -> None:
    export_lerobot(dataset, tmp_path / "lerobot", ExportOptions())
    file = tmp_path / "lerobot/meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(file)
    names = ["../../outside", "a", "b"]
    index = table.schema.get_field_index("episode_name")
    pq.write_table(table.set_column(index, "episode_name", [names]), file)
    import_lerobot(tmp_path / "lerobot", tmp_path / "back", plan_import(tmp_path / "lerobot", ImportOptions()))
    assert list_episodes(tmp_path / "back") == [f"episode_000000{i}" for i in range(3)]
