from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from policy_server.ladder.configuration import FamilyConfig, LadderConfig, PlateauConfig
from policy_server.ladder.rungs import make_rungs
from policy_server.runtime.configuration import load
from policy_server.runtime.errors import ConfigurationError
from policy_server.sweep.jobs import mark_done
from policy_server.training.configuration import TrainingConfig
from tests.small_policy import write_small_dataset

MUON = {"kind": "muon", "muon": {"recipe": "fixed_five", "spectrum_every": 2}}


def unet(width: int) -> dict[str, Any]:
    return {"model": {"unet": {"widths": [width], "heads": 2}}}


@pytest.fixture
def config(tmp_path: Path) -> LadderConfig:
    base = {
        "dataset": write_small_dataset(tmp_path / "data", (8,)),
        "features": True,
        "steps": 20,
        "chunk": {"past_steps": 2, "future_steps": 6, "replan_every_ticks": 1},
        "optimizer": MUON,
    }
    families = {"unet": FamilyConfig({"large": unet(24), "small": unet(16)})}
    return LadderConfig("l", tmp_path / "runs", tmp_path, base, families, plateau=PlateauConfig(10))


def test_a_run_for_each_rung_and_seed_small_ones_first(config: LadderConfig) -> None:
    rungs = make_rungs(config)
    assert [rung.training.name for rung in rungs] == [
        *("unet-small-s0", "unet-small-s1", "unet-large-s0", "unet-large-s1")
    ]
    assert rungs[0].parameters < rungs[2].parameters == rungs[3].parameters
    assert [rung.training.seed for rung in rungs] == [0, 1, 0, 1]


def test_what_the_command_reads_is_the_run(config: LadderConfig) -> None:
    rung = make_rungs(config)[0]
    rung.prepare()
    assert load(TrainingConfig, rung.job.command[-1]) == rung.training


def test_a_run_is_done_until_what_it_learns_changes(config: LadderConfig, tmp_path: Path) -> None:
    rung = make_rungs(config)[0]
    rung.prepare()
    mark_done(rung.job, 1.0)
    assert make_rungs(config)[0].job.is_done
    same = replace(config, base=config.base | {"threads": 3, "checkpoint_every": 7})
    assert make_rungs(same)[0].job.is_done
    elsewhere = {"dataset": write_small_dataset(tmp_path / "other", (8,))}
    for other in ({"steps": 30}, {"batch_windows": 8}, elsewhere, {"accumulate": 2}, {"damaged_episodes": "skip"}):
        assert not make_rungs(replace(config, base=config.base | other))[0].job.is_done


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"optimizer": {"kind": "adamw"}}, "unet-large-s0: set optimizer.kind=muon"),
        ({"optimizer": {"kind": "muon"}}, "spectrum_every"),
        ({"steps": 9}, "plateau 10 to 9"),
        ({"optimizer": MUON | {"muon": {"spectrum_every": 9}}}, "fewer than three measurements"),
    ],
)
def test_runs_without_a_plateau_to_measure_are_refused(
    config: LadderConfig, changes: dict[str, object], names: str
) -> None:
    with pytest.raises(ConfigurationError, match=names):
        make_rungs(replace(config, base=config.base | changes))


def test_two_rungs_of_one_size_are_refused(config: LadderConfig) -> None:
    families = {"unet": FamilyConfig({"a": unet(16), "b": unet(16)})}
    with pytest.raises(ConfigurationError, match="rungs 'a' and 'b' are of one size"):
        make_rungs(replace(config, families=families))
