"""The whole recipe on a dataset of a few episodes, with the real parts."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from policy_server.runtime import configuration
from policy_server.runtime.errors import ConfigurationError
from policy_server.train_stages import train_stages
from policy_server.training.checkpoint import load_checkpoint
from policy_server.training.distributed import World
from policy_server.training.encoder_facts import read_facts
from policy_server.training.encoder_objectives import DynamicsConfig, ReconstructionConfig
from policy_server.training.encoder_pretraining import PretrainingConfig
from policy_server.training.stages import StagesConfig
from tests.small_policy import FEATURES, small_config, write_small_dataset

pytestmark = pytest.mark.slow


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_small_dataset(tmp_path / "data", (15, 9, 22, 12))


def stages(dataset: Path, output: Path, objective: str, **changes: object) -> StagesConfig:
    encoder = PretrainingConfig(
        objective,  # type: ignore[arg-type]
        steps=6,
        batch_ticks=12,
        checkpoint_every=2,
        dynamics=DynamicsConfig(window=3, latent_dim=2, width=16, layers=1, heads=2),
        reconstruction=ReconstructionConfig((8, 8)),
    )
    return StagesConfig(small_config(dataset, output), encoder, **changes)  # type: ignore[arg-type]


def weights_of(run: Path, which: str = "average") -> dict[str, Tensor]:
    checkpoint = load_checkpoint(run)
    assert checkpoint is not None
    return dict(getattr(checkpoint, which))


def encoder_in(run: Path) -> dict[str, Tensor]:
    prefix = "encoder."
    return {name.removeprefix(prefix): value for name, value in weights_of(run).items() if name.startswith(prefix)}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("objective", ["short_policy", "dynamics", "reconstruction"])
def test_the_policy_carries_the_encoder_of_its_first_stage(objective: str, dataset: Path, tmp_path: Path) -> None:
    config = stages(dataset, tmp_path / "run", objective)
    assert train_stages(config, World()) == 0
    folder = tmp_path / "run/stages/encoder"
    assert same(encoder_in(tmp_path / "run"), load_file(folder / "encoder.safetensors"))
    facts = read_facts(folder)
    assert facts is not None and facts.objective == objective
    assert tuple(facts.trained.r2) == FEATURES and facts.trained.ticks == 12
    assert facts.trained != facts.untrained


def test_stages_that_are_done_are_not_done_again(dataset: Path, tmp_path: Path) -> None:
    config = stages(dataset, tmp_path / "run", "reconstruction")
    train_stages(config, World())
    kept = [*(tmp_path / "run").rglob("encoder.safetensors"), *dataset.rglob("embeddings.npy")]
    before = [file.stat().st_mtime_ns for file in kept]
    weights = weights_of(tmp_path / "run")
    assert train_stages(config, World()) == 0
    assert len(kept) == 2 and [file.stat().st_mtime_ns for file in kept] == before
    assert same(weights_of(tmp_path / "run"), weights)


def test_finetuning_starts_from_the_head_and_moves_the_encoder(dataset: Path, tmp_path: Path) -> None:
    config = stages(dataset, tmp_path / "run", "reconstruction", finetune_steps=1, finetune_learning_rate=1e-6)
    assert train_stages(config, World()) == 0
    head, final = weights_of(tmp_path / "run/stages/head"), weights_of(tmp_path / "run", "model")
    furthest = max((final[name] - head[name]).abs().max().item() for name in head)
    assert 0 < furthest < 1e-5  # one small step away from where the head ended
    before = load_file(tmp_path / "run/stages/encoder/encoder.safetensors")
    assert not same({name: final[f"encoder.{name}"] for name in before}, before)


def test_the_head_learns_from_all_episodes_and_the_encoder_does_not(dataset: Path, tmp_path: Path) -> None:
    train_stages(stages(dataset, tmp_path / "run", "short_policy"), World())
    short, final = load_checkpoint(tmp_path / "run/stages/encoder"), load_checkpoint(tmp_path / "run")
    assert short is not None and final is not None
    assert short.episodes != final.episodes
    assert short.config.episodes == 3 and final.config.episodes == 0


def test_an_encoder_of_other_episodes_is_refused(dataset: Path, tmp_path: Path) -> None:
    config = stages(dataset, tmp_path / "run", "reconstruction")
    train_stages(config, World())
    write_small_dataset(dataset, (15, 9, 22, 12, 14))
    with pytest.raises(ConfigurationError, match="encoder of other episodes"):
        train_stages(config, World())


def test_a_policy_that_does_not_fit_the_dataset_is_refused_before_any_work(dataset: Path, tmp_path: Path) -> None:
    config = stages(dataset, tmp_path / "run", "dynamics")
    chunk = dataclasses.replace(config.training.chunk, future_steps=5)
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, chunk=chunk))
    with pytest.raises(ConfigurationError, match="multiple of 2"):
        train_stages(config, World())
    assert not (tmp_path / "run").exists()


def test_stages_go_on_after_kill_9(dataset: Path, tmp_path: Path) -> None:
    unbroken = stages(dataset, tmp_path / "unbroken", "reconstruction")
    train_stages(unbroken, World())
    config = stages(dataset, tmp_path / "run", "reconstruction")
    file = tmp_path / "stages.yaml"
    file.write_text(yaml.safe_dump(configuration.to_plain(config)))
    command = [sys.executable, "-m", "policy_server.train_stages", str(file)]
    for landmark in ("stages/encoder/pretraining.pt", "checkpoint.pt"):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (tmp_path / "run" / landmark).exists() and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert finished.returncode == 0, finished.stderr
    assert f"the policy is in {tmp_path / 'run'}" in finished.stdout
    assert same(weights_of(tmp_path / "run"), weights_of(tmp_path / "unbroken"))


@pytest.mark.timeout(600)
def test_two_processes_go_through_all_stages_together(dataset: Path, tmp_path: Path) -> None:
    config = stages(dataset, tmp_path / "run", "dynamics", finetune_steps=2)
    file = tmp_path / "stages.yaml"
    file.write_text(yaml.safe_dump(configuration.to_plain(config)))
    together = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = [*together, "-m", "policy_server.train_stages", str(file)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for expected in ("stage 4 of 4: finetuning", "trained to step 2 of 2"):  # the second time all is done already
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert ended.stdout.count(expected) == 1, "only the first process speaks"
    assert read_facts(tmp_path / "run/stages/encoder") is not None
    final = load_checkpoint(tmp_path / "run")
    assert final is not None and (final.step, final.batches_per_step) == (2, 2)
    assert not same(encoder_in(tmp_path / "run"), load_file(tmp_path / "run/stages/encoder/encoder.safetensors"))
