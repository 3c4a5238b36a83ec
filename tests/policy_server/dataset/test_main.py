"""The commands as they are typed."""

import json
from pathlib import Path

import pytest

from policy_server.dataset.__main__ import main
from policy_server.runtime.command import run_command
from policy_server.runtime.recording import list_episodes
from tests.policy_server.dataset.lerobot.foreign import write_foreign
from tests.policy_server.dataset.recorded import flip_last_byte, write_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    def run(*arguments: object) -> int:
        monkeypatch.setattr("sys.argv", ["dataset", *map(str, arguments)])
        return run_command(main)

    return run


@pytest.mark.slow
def test_describe_writes_numbers_and_pictures_and_says_where(dataset: Path, command, capsys) -> None:
    assert command("describe", dataset) == 0
    printed = capsys.readouterr().out
    assert "episodes   3 (2 successful), 24 ticks" in printed
    assert printed.splitlines()[-1] == f"numbers are in {dataset}/description.json, pictures in {dataset}/description"
    description = json.loads((dataset / "description.json").read_text())
    assert description["joints"][0]["name"] == "fr3_joint1"
    assert len(list((dataset / "description").glob("*.png"))) == 4
    assert command("verify", dataset) == 0  # none of these files is taken for an episode


def test_describe_names_what_it_does_not_count(dataset: Path, command, capsys, tmp_path: Path) -> None:
    flip_last_byte(dataset / "episode_1000000" / "joints.npy")
    (dataset / "episode_1000001").rename(dataset / "episode_1000001.partial")
    assert command("describe", dataset, "--output", tmp_path / "pictures") == 0
    assert (tmp_path / "pictures" / "ranges.png").is_file()
    said = capsys.readouterr().err
    assert "not counted: episode 'episode_1000000'" in said and "'episode_1000001.partial' is half-written" in said


def test_verify_ends_with_2_until_the_damaged_are_deleted(dataset: Path, command, capsys) -> None:
    flip_last_byte(dataset / "episode_1000002" / "image_front.npy")
    (dataset / "episode_1000001").rename(dataset / "episode_1000001.partial")
    assert command("verify", dataset) == 2
    assert len(list_episodes(dataset)) == 2
    assert command("verify", dataset, "--delete-damaged") == 0
    said = capsys.readouterr().err
    assert said.count("damaged: episode 'episode_1000002'") == 2
    assert said.count("damaged: episode 'episode_1000001.partial'") == 2
    assert sorted(entry.name for entry in dataset.iterdir()) == ["dataset.yaml", "episode_1000000"]
    assert command("verify", dataset) == 0


def test_an_export_comes_back_by_the_commands(dataset: Path, command, capsys, tmp_path: Path) -> None:
    assert command("export-lerobot", dataset, "--output", tmp_path / "lerobot", "--crf", 10) == 0
    assert command("import-lerobot", tmp_path / "lerobot", "--output", tmp_path / "back") == 0
    printed = capsys.readouterr().out
    assert f"3 episodes as a LeRobot v3 dataset are in {tmp_path}/lerobot" in printed
    assert f"3 episodes of press_count are in {tmp_path}/back" in printed
    assert list_episodes(tmp_path / "back") == list_episodes(dataset)


def test_a_foreign_dataset_is_imported_as_the_help_says(command, capsys, tmp_path: Path, monkeypatch) -> None:
    source = write_foreign(tmp_path / "foreign")
    monkeypatch.chdir(tmp_path)
    options = ("--joints", "fr3", "--angle-unit", "deg", "--scale", "fr3_finger_joint1=0.04")
    assert command("import-lerobot", source, "--task", "pick", *options, "--cameras", "top=front@10x6") == 0
    assert "observation.images.top → front 10x6" in capsys.readouterr().out
    assert len(list_episodes(Path("data/pick"))) == 2


def test_damage_is_named_once_and_left_out_on_request(dataset: Path, command, capsys, tmp_path: Path) -> None:
    flip_last_byte(dataset / "episode_1000001" / "actions.npy")
    assert command("export-lerobot", dataset, "--output", tmp_path / "lerobot") == 2
    assert capsys.readouterr().err.count("error: episode 'episode_1000001'") == 1
    assert command("export-lerobot", dataset, "--output", tmp_path / "lerobot", "--skip-damaged") == 0
    assert "left out: episode 'episode_1000001'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["describe", "verify", "import-lerobot", "export-lerobot"])
def test_each_command_shows_an_example(command, capsys, name: str) -> None:
    with pytest.raises(SystemExit) as ended:
        command(name, "--help")
    assert ended.value.code == 0
    assert f"example: python -m policy_server.dataset {name} " in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ["describe", "verify", "import-lerobot"])
def test_a_folder_that_is_not_there_ends_in_one_line(command, capsys, name: str) -> None:
    assert command(name, "nowhere") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "'nowhere'" in errors[0]
