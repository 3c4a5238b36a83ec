import pytest

from policy_server.runtime.errors import DatasetError
from sim_bridge.study.cells import expand
from sim_bridge.study.configuration import CollectionConfig
from sim_bridge.study.datasets import Source, collect, count_of, missing_demonstrations
from tests.sim_bridge.study.fake_commands import COMMANDS_FILE
from tests.sim_bridge.study.synthetic_study import fake_commands, study


@pytest.fixture(autouse=True)
def _fake(monkeypatch, tmp_path) -> None:
    fake_commands(monkeypatch, tmp_path)


def test_the_largest_regime_of_a_task_says_how_many_are_needed(tmp_path) -> None:
    grid = {"task": ["reach_cued", "push_to_goal"], "context_length": [2], "demonstrations": ["N/2", "N"]}
    cells = expand(study(grids=[grid]))
    reach = Source("reach_cued", tmp_path / "data/reach_cued")
    needed = {reach: 100, Source("push_to_goal", tmp_path / "data/push_to_goal"): 60}
    assert missing_demonstrations(cells, tmp_path) == needed
    for i in range(60):
        (tmp_path / f"data/push_to_goal/episode_{i}").mkdir(parents=True)
        (tmp_path / f"data/push_to_goal/episode_{i}/episode.yaml").touch()
    assert list(missing_demonstrations(cells, tmp_path)) == [reach]


def test_more_seeds_are_tried_for_demonstrations_that_failed(tmp_path) -> None:
    dataset = tmp_path / "data/reach_cued"
    collect(Source("reach_cued", dataset), 20, CollectionConfig(), 1, tmp_path)
    assert count_of(dataset) >= 20
    tried = [int(line) for line in (dataset / COMMANDS_FILE).read_text().split()]
    assert tried[0] == 20 and tried[-1] < 40


def test_a_dataset_that_has_enough_is_left_alone(tmp_path) -> None:
    dataset = tmp_path / "data/reach_cued"
    for _ in range(2):
        collect(Source("reach_cued", dataset), 3, CollectionConfig(), 1, tmp_path)
    assert (dataset / COMMANDS_FILE).read_text().split() == ["3"]


@pytest.mark.parametrize(("count", "rounds"), [(20, ["20"]), (2, ["2", "10"])])
def test_an_expert_that_always_fails_is_given_up_soon(tmp_path, count: int, rounds: list[str]) -> None:
    source = Source("stack", tmp_path / "data/stack", "low_table", 2_000_000)
    mend = r"has 0 of .* --task stack --shift low_table --seed 2000000$"
    with pytest.raises(DatasetError, match=mend):
        collect(source, count, CollectionConfig(), 1, tmp_path)
    assert (source.dataset / COMMANDS_FILE).read_text().split() == rounds


def test_no_shifted_world_of_another_training_seed_is_shown(tmp_path) -> None:
    source = Source("reach_cued", tmp_path / "data/shifted", "low_table", 2_000_000)
    with pytest.raises(DatasetError, match="has 750 of 800 demonstrations after 1000 seeds"):
        collect(source, 800, CollectionConfig(), 1, tmp_path)
    assert (source.dataset / COMMANDS_FILE).read_text().split() == ["800", "1000"]


def test_a_collection_that_fails_is_named(tmp_path) -> None:
    with pytest.raises(DatasetError, match=r"collecting shell_game .* status 2"):
        collect(Source("shell_game", tmp_path / "data/shell_game"), 5, CollectionConfig(), 1, tmp_path)
