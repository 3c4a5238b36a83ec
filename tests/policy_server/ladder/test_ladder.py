"""The whole command, with real trainings in processes of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from policy_server.ladder.__main__ import main
from policy_server.muon.recipe_file import read_recipe
from policy_server.runtime.errors import DatasetError
from tests.small_policy import write_small_dataset

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CHUNK = {"past_steps": 2, "future_steps": 6, "replan_every_ticks": 1}


@pytest.fixture
def run(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    def command(*arguments: str) -> list[str]:
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
        monkeypatch.setattr("sys.argv", ["ladder", str(file), "--workers", "2", *arguments])
        assert main() == 0
        return capsys.readouterr().out.splitlines()

    return command


def unet(width: int) -> dict[str, object]:
    return {"model": {"unet": {"widths": [width], "heads": 2}}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    values = {
        "name": "small",
        "output": str(tmp_path / "runs"),
        "results": str(tmp_path / "results"),
        "seeds": [0],
        "plateau": {"from_step": 5},
        "base": {
            "dataset": str(write_small_dataset(tmp_path / "data", (9, 8))),
            "features": True,
            "steps": 20,
            "batch_windows": 8,
            "windows_per_episode": 1,
            "threads": 1,
            "chunk": CHUNK,
            "optimizer": {"kind": "muon", "muon": {"recipe": "fixed_five", "spectrum_every": 5}},
        },
        "families": {"unet": {"rungs": {"a": unet(16), "b": unet(24), "c": unet(32)}}},
    }
    written = tmp_path / "ladder.yaml"
    written.write_text(yaml.safe_dump(values))
    return written


def test_a_ladder_is_trained_piece_by_piece_and_predicts_a_recipe(
    tmp_path: Path, run: Callable[..., list[str]]
) -> None:
    run("--only", "unet-[ab]")
    assert "2 of 3 runs are done" in (tmp_path / "results/muon.md").read_text()
    said = run()
    assert said[0].startswith("[3/3")  # the others were skipped
    assert said[-1].endswith("tables and plots beside it")
    assert run("--dry-run")[-1].startswith("0 of 3 runs to do")

    training = tmp_path / "large.yaml"
    values = {"name": "large", "output": str(tmp_path / "large"), "dataset": str(tmp_path / "data"), "features": True}
    training.write_text(yaml.safe_dump({**values, "chunk": CHUNK, **unet(48)}))
    run("--recipe-for", str(training), "--recipe", str(tmp_path / "recipe.yaml"))
    assert "middle.0.condition.attention.query.weight" in " ".join(read_recipe(tmp_path / "recipe.yaml").layers)


def test_a_dataset_that_is_missing_is_named_before_anything_starts(
    tmp_path: Path, run: Callable[..., list[str]]
) -> None:
    with pytest.raises(DatasetError, match="no dataset at 'nowhere'"):
        run("base.dataset=nowhere")
    assert not (tmp_path / "runs").exists()
