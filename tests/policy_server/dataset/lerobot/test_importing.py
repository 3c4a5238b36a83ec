"""A dataset that somebody else recorded becomes ours."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from policy_server.dataset.lerobot.importing import ImportOptions, import_lerobot, plan_import
from policy_server.dataset.lerobot.layout import LeRobotError, UnitError
from policy_server.dataset.lerobot.mapping import FR3_PAIRS, JointOptions, Scale
from policy_server.runtime.errors import DatasetError
from policy_server.runtime.recording import (
    EpisodeArrays,
    check_episode,
    create_dataset,
    list_episodes,
    list_partial,
    read_dataset_info,
    read_episode_info,
)
from tests.policy_server.dataset.lerobot.foreign import (
    HEIGHT,
    LENGTHS,
    RATE_HZ,
    WIDTH,
    action,
    frame,
    state,
    write_foreign,
)
from tests.policy_server.dataset.recorded import INFO, JOINTS

JOINT_OPTIONS = JointOptions(FR3_PAIRS, (("fr3_finger_joint1", Scale(0.04)),), "deg")
OPTIONS = ImportOptions(task="pick", joints=JOINT_OPTIONS)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_foreign(tmp_path / "foreign")


def imported(source: Path, output: Path, options: ImportOptions = OPTIONS) -> list[EpisodeArrays]:
    assert import_lerobot(source, output, plan_import(source, options)) == 0
    return [check_episode(output, name) for name in list_episodes(output)]


def ours(theirs: np.ndarray) -> np.ndarray:
    return (theirs.astype(np.float64) * ([math.pi / 180] * 7 + [0.04])).astype(np.float32)


def test_numbers_become_radians_and_metres_of_our_joints(source: Path, tmp_path: Path) -> None:
    episodes = imported(source, tmp_path / "data")
    info = read_dataset_info(tmp_path / "data")
    assert (info.task, info.rate_hz, info.proprioception_joints, info.action_joints) == ("pick", 30.0, JOINTS, JOINTS)
    assert [len(episode.stamps_ns) for episode in episodes] == list(LENGTHS)
    for number, episode in enumerate(episodes):
        np.testing.assert_array_equal(episode.joints, ours(state(number)))
        np.testing.assert_array_equal(episode.actions, ours(action(number)))


def test_pictures_in_the_table_come_back_bit_for_bit(source: Path, tmp_path: Path) -> None:
    episodes = imported(source, tmp_path / "data")
    for number, episode in enumerate(episodes):
        for tick, picture in enumerate(episode.images["top"]):
            np.testing.assert_array_equal(picture, frame(number, tick))


def test_stamps_are_the_rates_grid_and_never_zero(source: Path, tmp_path: Path) -> None:
    episode = imported(source, tmp_path / "data")[1]
    expected = 10**9 + np.round(np.arange(LENGTHS[1]) * 1e9 / RATE_HZ).astype(np.int64)
    np.testing.assert_array_equal(episode.stamps_ns, expected)


def test_a_lower_rate_takes_the_last_action_before_the_next_tick(source: Path, tmp_path: Path) -> None:
    episodes = imported(source, tmp_path / "data", dataclasses.replace(OPTIONS, rate_hz=10.0))
    assert read_dataset_info(tmp_path / "data").rate_hz == 10
    for number, episode in enumerate(episodes):
        ticks = LENGTHS[number] // 3
        np.testing.assert_array_equal(episode.joints, ours(state(number))[: 3 * ticks : 3])
        np.testing.assert_array_equal(episode.actions, ours(action(number))[2 : 3 * ticks : 3])
        np.testing.assert_array_equal(episode.images["top"][4], frame(number, 12))
        np.testing.assert_array_equal(np.diff(episode.stamps_ns), 10**8)


def test_a_camera_is_renamed_and_resized(source: Path, tmp_path: Path) -> None:
    episode = imported(source, tmp_path / "data", dataclasses.replace(OPTIONS, cameras="top=front@10x6"))[0]
    assert episode.images["front"].shape == (LENGTHS[0], 6, 10, 3)
    halves = frame(0, 0).reshape(6, HEIGHT // 6, 10, WIDTH // 10, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(episode.images["front"][0], halves, atol=1)


def test_what_is_said_of_success_is_kept_and_what_is_left_out_is_told(source: Path, tmp_path: Path) -> None:
    imported(source, tmp_path / "data")
    stated = [read_episode_info(tmp_path / "data", name).success for name in list_episodes(tmp_path / "data")]
    assert stated == [False, True]
    assert plan_import(source, OPTIONS).left_out == ("observation.images.depth", "next.reward")


def test_an_interrupted_import_goes_on_where_it_stopped(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "data"

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_lerobot(source, output, plan_import(source, OPTIONS), on_progress=interrupt)
    assert list_episodes(output) == ["episode_0000000"]
    written_ns = (output / "episode_0000000" / "episode.yaml").stat().st_mtime_ns
    (output / "episode_0000001.partial").mkdir()
    assert len(imported(source, output)) == 2
    assert (output / "episode_0000000" / "episode.yaml").stat().st_mtime_ns == written_ns
    assert list_partial(output) == []


@pytest.mark.parametrize("change", [{"rate_hz": 15.0}, {"task": "place"}, {"cameras": ""}])
def test_other_options_are_not_mixed_into_an_import(source: Path, tmp_path: Path, change: dict) -> None:
    imported(source, tmp_path / "data")
    other = plan_import(source, dataclasses.replace(OPTIONS, **change))
    with pytest.raises(DatasetError, match="imported from another dataset or with other options"):
        import_lerobot(source, tmp_path / "data", other)


def test_a_recorded_dataset_is_not_imported_into(source: Path, tmp_path: Path) -> None:
    create_dataset(tmp_path / "data", INFO)
    with pytest.raises(DatasetError, match="holds another dataset"):
        import_lerobot(source, tmp_path / "data", plan_import(source, OPTIONS))


def test_degrees_taken_for_radians_stop_the_import_even_if_damage_is_skipped(source: Path, tmp_path: Path) -> None:
    wrong = plan_import(source, dataclasses.replace(OPTIONS, joints=JointOptions()))
    with pytest.raises(UnitError, match="give --angle-unit deg"):
        import_lerobot(source, tmp_path / "data", wrong, on_damage=print)
    (tmp_path / "data" / "other_name.partial").mkdir()
    assert len(imported(source, tmp_path / "data")) == 2  # the mended command needs no other folder
    assert list_partial(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ImportOptions(task="pick", rate_hz=12.0), "rate 12 Hz does not divide the dataset's 30 Hz"),
        (ImportOptions(task="pick", rate_hz=60.0), "does not divide"),
        (
            ImportOptions(task="pick", joints=JointOptions((), (("grip", Scale(0.04)),))),
            "--scale grip: our joints are joint_1, ",
        ),
        (ImportOptions(task="pick", cameras="side"), "no RGB camera 'side': it has top"),
        (ImportOptions(task="pick", cameras="depth"), "no RGB camera 'depth'"),
        (ImportOptions(task="pick", cameras="top@96"), "'96' is no size"),
        (ImportOptions(task="pick", cameras="top=a,top=a"), "two cameras of one name"),
        (ImportOptions(task="pick", state=("observation.joints",)), "no vector 'observation.joints'"),
        (
            ImportOptions(task="pick", joints=JointOptions((("joint1", "fr3_joint1"),))),
            "no joint for 'fr3_joint1': looked for joint1; did you mean 'joint_1'",
        ),
    ],
)
def test_what_does_not_fit_is_named_before_anything_is_written(source: Path, options: ImportOptions, said: str) -> None:
    with pytest.raises(LeRobotError, match=said):
        plan_import(source, options)


def test_actions_that_are_no_joints_are_refused(tmp_path: Path) -> None:
    source = write_foreign(tmp_path / "foreign")
    values = json.loads((source / "meta/info.json").read_text())
    values["features"]["action"] = {"dtype": "float32", "shape": [2], "names": ["delta_x", "delta_y"]}
    (source / "meta/info.json").write_text(json.dumps(values))
    with pytest.raises(LeRobotError, match="action 'delta_x' is no joint of the state"):
        plan_import(source, ImportOptions(task="pick"))


def test_the_only_task_names_ours_and_of_several_one_must_be_chosen(tmp_path: Path) -> None:
    without = dataclasses.replace(OPTIONS, task=None)
    assert plan_import(write_foreign(tmp_path / "one"), without).info.task == "Pick the cube"
    with pytest.raises(LeRobotError, match="2 tasks: name ours by --task"):
        plan_import(write_foreign(tmp_path / "two", tasks=("Pick", "Place")), without)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"codebase_version": "v2.1"}, "version v2.1, this reads v3: convert it"),
        ({"total_episodes": 3}, "states 3 episodes, its table of episodes holds 2"),
        ({"data_path": "../{chunk_index}/{file_index}"}, "lies outside the dataset"),
        ({"data_path": "data/{chunk}"}, "cannot be filled in"),
        ({"features": None}, "info.json' cannot be read"),
        ({"fps": "fast"}, "info.json' cannot be read"),
        ({"fps": 0}, "fps is 0"),
    ],
)
def test_a_description_that_cannot_be_used_is_named(tmp_path: Path, changes: dict, said: str) -> None:
    source = write_foreign(tmp_path / "foreign", **changes)
    with pytest.raises(LeRobotError, match=said):
        plan_import(source, OPTIONS)


def test_a_folder_that_is_no_lerobot_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(LeRobotError, match="no LeRobot dataset at"):
        plan_import(tmp_path, OPTIONS)


def drop_rows(file: Path) -> None:
    pq.write_table(pq.read_table(file).slice(0, sum(LENGTHS) - 3), file)


def drop_first_episode(file: Path) -> None:
    pq.write_table(pq.read_table(file).slice(LENGTHS[0]), file)


def drop_column(file: Path) -> None:
    pq.write_table(pq.read_table(file).drop_columns(["action"]), file)


def spoil_picture(file: Path) -> None:
    table = pq.read_table(file)
    pictures = table.column("observation.images.top").to_pylist()
    pictures[-1] = {"bytes": b"no picture", "path": ""}
    index = table.schema.get_field_index("observation.images.top")
    pq.write_table(table.set_column(index, "observation.images.top", pa.array(pictures)), file)


def spoil_number(file: Path) -> None:
    table = pq.read_table(file)
    states = table.column("observation.state").to_pylist()
    states[-1][0] = math.nan
    index = table.schema.get_field_index("observation.state")
    pq.write_table(table.set_column(index, "observation.state", pa.array(states)), file)


@pytest.mark.parametrize(
    ("spoil", "said", "left"),
    [
        (drop_rows, "episode 1: .* does not hold its 40 frames in order", 1),
        (drop_first_episode, "episode 0: .* does not hold its 31 frames in order", 1),
        (spoil_picture, "episode 1: picture 39 of 'observation.images.top'", 1),
        (spoil_number, "episode 1: its state holds a number that is not finite", 1),
        (drop_column, "has no column 'action'", 0),
        (lambda file: file.write_bytes(file.read_bytes()[:400]), "file-000.parquet' cannot be read", 0),
        (lambda file: file.unlink(), "no file '.*file-000.parquet'", 0),
    ],
)
def test_damage_is_named_and_left_out_on_request(
    source: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str, left: int
) -> None:
    plan = plan_import(source, OPTIONS)
    spoil(source / "data/chunk-000/file-000.parquet")
    with pytest.raises(DatasetError, match=f"{said}.*--skip-damaged"):
        import_lerobot(source, tmp_path / "strict", plan)
    told: list[DatasetError] = []
    assert import_lerobot(source, tmp_path / "data", plan, told.append) == len(told) == 2 - left
    assert len(list_episodes(tmp_path / "data")) == left
