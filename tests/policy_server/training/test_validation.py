import csv
import dataclasses
import json
import os
import sys
from pathlib import Path

import pytest
import torch

from policy_server.runtime.errors import ConfigurationError
from policy_server.training import validation
from policy_server.training.checkpoint import choose_checkpoint
from policy_server.training.configuration import TrainingConfig, ValidationConfig, policy_spec
from policy_server.training.episodes import load_episodes
from policy_server.training.trainer import Trainer
from policy_server.training.validation import Rollouts, ValidationError, fill, read_result, read_rollouts, run_process
from tests.small_policy import INFO, small_config, write_small_dataset

# Stands for the evaluation: answers with the next number of successes of ``answers.json``; keeps what it was called with.
JUDGE = """
import json, pathlib, sys
calls = pathlib.Path("calls.txt")
with calls.open("a") as stream:
    print(*sys.argv[1:], file=stream)
successes = json.loads(pathlib.Path("answers.json").read_text())[len(calls.read_text().splitlines()) - 1]
assert successes is not None, "the arm fell off"
pathlib.Path(sys.argv[3]).write_text(json.dumps({"successes": successes, "episodes": 10}))
"""
COMMAND = ("{python}", "-c", JUDGE, "{bundle}", "{task}", "{json}")


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge keeps its files where it is started; the packages are found from there too."""
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.chdir(tmp_path)
    write_small_dataset(Path("data"))


@pytest.fixture
def without_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "EXPORT", ("{python}", "-c", "pass"))


def calls() -> list[list[str]]:
    return [line.split() for line in Path("calls.txt").read_text().splitlines()]


def judged_config(output: Path, command: tuple[str, ...] = COMMAND, **changes: object) -> TrainingConfig:
    judged = {"steps": 6, "checkpoint_every": 100, "features": True, "cameras": {}} | changes
    return small_config(Path("data"), output, validation=ValidationConfig(2, command), **judged)


def trainer(config: TrainingConfig) -> Trainer:
    spec = policy_spec(config, INFO)
    run = Trainer(config, spec, load_episodes(config.dataset, spec))
    run.resume()
    return run


@pytest.mark.usefixtures("without_export")
@pytest.mark.slow
def test_rollouts_choose_the_checkpoint_and_a_resumed_run_goes_on_with_the_record(tmp_path: Path) -> None:
    config = judged_config(tmp_path / "run")
    Path("answers.json").write_text(json.dumps([7, None, 5, 7]))
    averages: dict[int, torch.Tensor] = {}
    first = trainer(config)
    name = next(iter(first.average))
    told: list[Rollouts] = []
    with pytest.raises(ValidationError, match=r"step 4.*the arm fell off"):
        first.run(lambda step, _: averages.update({step: first.average[name].clone()}), on_validation=told.append)
    assert told == [Rollouts(2, 7, 10)]
    assert choose_checkpoint(config.output).step == 2 and choose_checkpoint(config.output, "last").step == 4

    second = trainer(config)
    second.run(lambda step, _: averages.update({step: second.average[name].clone()}))
    assert read_rollouts(config.output) == [Rollouts(2, 7, 10), Rollouts(4, 5, 10), Rollouts(6, 7, 10)]
    best = choose_checkpoint(config.output)
    assert best.step == 6, "of two equally good ones the later is kept"
    torch.testing.assert_close(best.average[name], averages[6], rtol=0, atol=0)
    with (config.output / "validation.csv").open() as stream:
        assert [row["success_rate"] for row in csv.DictReader(stream)] == ["0.7000", "0.5000", "0.7000"]

    trainer(config).run()
    assert len(calls()) == 4, "a run that is complete is not judged again"
    assert {call[1] for call in calls()} == {INFO.task}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_command_is_given_a_bundle_of_the_averaged_weights(tmp_path: Path) -> None:
    judge = (
        "import sys, json, pathlib; from policy_server.runtime.bundle import load_bundle;"
        "bundle = load_bundle(sys.argv[1]); steps = bundle.manifest.training['steps'];"
        "pathlib.Path(sys.argv[2]).write_text(json.dumps({'successes': steps, 'episodes': 2}))"
    )
    config = judged_config(tmp_path / "run", ("{python}", "-c", judge, "{bundle}", "{json}"), steps=2)
    trainer(config).run()
    assert read_rollouts(config.output) == [Rollouts(2, 2, 2)]


def test_the_command_is_filled_in_and_other_braces_stay() -> None:
    command = ("{python}", "--set", "a={b: 1}", "{task}:{json}")
    assert fill(command, python="py", task="reach", json="out") == ["py", "--set", "a={b: 1}", "reach:out"]


def test_a_command_that_fails_is_named_with_its_last_line() -> None:
    failing = [sys.executable, "-c", "print('first'); print('no such world'); raise SystemExit(3)"]
    with pytest.raises(ValidationError, match=r"step 8.*status 3: no such world"):
        run_process(failing, 8, lambda: False)
    with pytest.raises(ValidationError, match="cannot start 'no-such-program'"):
        run_process(["no-such-program"], 8, lambda: False)


def test_a_command_is_ended_when_the_run_is_stopped() -> None:
    asked = iter([False, True])
    assert not run_process([sys.executable, "-c", "import time; time.sleep(600)"], 1, lambda: next(asked, True))


def test_the_command_is_no_member_of_the_training_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    look = "import os; raise SystemExit('RANK' in os.environ or 'WORLD_SIZE' in os.environ)"
    assert run_process([sys.executable, "-c", look], 1, lambda: False)


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"episodes": 5}', '{"successes": 6, "episodes": 5}', '{"successes": 0, "episodes": 0}']
)
def test_a_result_that_says_nothing_is_refused(text: str) -> None:
    Path("result.json").write_text(text)
    with pytest.raises(ValidationError, match="step 3"):
        read_result(Path("result.json"), 3)


def test_a_run_without_rollouts_has_no_best_checkpoint(tmp_path: Path) -> None:
    config = dataclasses.replace(judged_config(tmp_path / "run"), validation=ValidationConfig())
    trainer(config).run()
    assert choose_checkpoint(config.output).step == 6
    with pytest.raises(ConfigurationError, match=r"no best\.pt"):
        choose_checkpoint(config.output, "best")
    with pytest.raises(ConfigurationError, match="no checkpoint"):
        choose_checkpoint(tmp_path / "nowhere")
