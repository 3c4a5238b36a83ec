import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from policy_server.runtime import configuration
from policy_server.runtime.errors import ConfigurationError
from policy_server.training.configuration import TrainingConfig, policy_spec
from policy_server.training.trainer import NonFiniteLossError, Trainer
from policy_server.training.windows import gather_windows, load_episodes
from tests.small_policy import INFO, small_config, small_spec, write_small_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_small_dataset(tmp_path / "data")


def trainer(config: TrainingConfig) -> Trainer:
    spec = policy_spec(config, INFO)
    return Trainer(config, spec, load_episodes(config.dataset, spec))


def losses_of(trainer: Trainer) -> list[float]:
    losses: list[float] = []
    trainer.run(lambda step, loss: losses.append(loss))
    return losses


def test_a_resumed_run_repeats_the_loss_curve_of_an_unbroken_one(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run")
    unbroken = losses_of(trainer(dataclasses.replace(config, output=tmp_path / "other")))
    first = trainer(config)
    begun: list[float] = []
    first.run(lambda step, loss: begun.append(loss), should_stop=lambda: len(begun) == 5)
    second = trainer(config)
    second.resume()
    assert second.step == 5
    assert begun + losses_of(second) == unbroken


def test_training_lowers_the_loss(dataset: Path, tmp_path: Path) -> None:
    optimizer = dataclasses.replace(small_config(dataset, tmp_path).optimizer, learning_rate=3e-3, warmup_steps=10)
    losses = losses_of(trainer(small_config(dataset, tmp_path / "run", steps=80, optimizer=optimizer)))
    assert np.mean(losses[-15:]) < 0.6 * np.mean(losses[:15])


def test_a_run_of_another_configuration_is_refused(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run")
    losses_of(trainer(config))
    same = trainer(dataclasses.replace(config, checkpoint_every=1, threads=2))
    same.resume()
    assert same.step == config.steps
    with pytest.raises(ConfigurationError, match="another configuration"):
        trainer(dataclasses.replace(config, batch_windows=4)).resume()


def test_a_loss_that_is_not_finite_stops_with_the_step_named(dataset: Path, tmp_path: Path) -> None:
    run = trainer(small_config(dataset, tmp_path / "run"))
    with torch.no_grad():
        run.model.unet.tokens.weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteLossError, match="step 0"):
        losses_of(run)


def test_encoding_each_frame_once_gives_what_encoding_all_gives(dataset: Path, tmp_path: Path) -> None:
    run = trainer(small_config(dataset, tmp_path / "run"))
    picks = [(0, 3), (0, 5), (2, 20), (1, 0)]
    together = run._context(gather_windows(run.episodes, run.spec, picks))
    for row, pick in enumerate(picks):
        alone = run._context(gather_windows(run.episodes, run.spec, [pick]))
        torch.testing.assert_close(together[row], alone[0], rtol=1e-5, atol=1e-5)


def test_the_chunk_does_not_grow_with_the_context() -> None:
    lengths = {
        small_spec(context=dataclasses.replace(small_config(Path(), Path()).context, length=n)).action.horizon
        for n in (2, 16, 64)
    }
    assert lengths == {8}


def test_a_horizon_that_the_unet_cannot_halve_is_refused() -> None:
    chunk = dataclasses.replace(small_config(Path(), Path()).chunk, future_steps=5)
    with pytest.raises(ConfigurationError, match="multiple of 2"):
        small_spec(chunk=chunk)


@pytest.mark.slow
def test_training_goes_on_after_kill_9(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run", steps=400)
    file = tmp_path / "training.yaml"
    file.write_text(yaml.safe_dump(configuration.to_plain(config)))
    command = [sys.executable, "-m", "policy_server.train", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (config.output / "checkpoint.pt").exists():
        assert process.poll() is None, "training ended before its first checkpoint"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = subprocess.run([*command, "steps=60"], capture_output=True, text=True, check=False)
    # It may have been killed after step 60 already; either way it says where it stands and leaves a gapless log.
    assert finished.returncode == 0, finished.stderr
    assert "checkpoint and loss.csv are in" in finished.stdout
    with (config.output / "loss.csv").open() as stream:
        steps = [int(row["step"]) for row in csv.DictReader(stream)]
    assert steps == sorted(set(steps)) and steps[0] == 10
