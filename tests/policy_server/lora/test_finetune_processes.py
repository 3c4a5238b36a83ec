"""Fine-tuning as it is really run: a process that is killed, and processes that tune together."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from policy_server.training.checkpoint import CHECKPOINT_FILE, choose_checkpoint
from tests.policy_server.lora.tuned_runs import train_base
from tests.small_policy import write_small_dataset

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FINETUNE = ("-m", "policy_server.finetune")
TOGETHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A tuning of 40 steps, of which every tenth is kept."""
    dataset = write_small_dataset(tmp_path / "data")
    train_base(dataset, tmp_path / "base")
    settings = {
        "base": str(tmp_path / "base"),
        "dataset": str(dataset),
        "output": str(tmp_path / "tuned"),
        "demonstrations": 2,
        "lora": {"rank": 2},
        "training": {"steps": 40, "checkpoint_every": 10, "threads": 1},
    }
    file = tmp_path / "finetune.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return file


def start(*arguments: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def adapter_of(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = choose_checkpoint(run)
    assert checkpoint.step == 40
    return checkpoint.adapter


def test_a_killed_tuning_goes_on_to_the_same_adapter(config: Path, tmp_path: Path) -> None:
    process = start(*FINETUNE, config)
    while not (tmp_path / "tuned" / CHECKPOINT_FILE).exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 10 <= choose_checkpoint(tmp_path / "tuned").step < 40
    assert start(*FINETUNE, config).wait() == 0
    assert start(*FINETUNE, config, f"output={tmp_path / 'whole'}").wait() == 0
    whole = adapter_of(tmp_path / "whole")
    for name, value in adapter_of(tmp_path / "tuned").items():
        assert torch.equal(value, whole[name]), name


def test_two_processes_learn_the_adapter_that_one_learns_with_twice_the_batches(config: Path, tmp_path: Path) -> None:
    assert start(*TOGETHER, *FINETUNE, config).wait() == 0
    assert start(*FINETUNE, config, f"output={tmp_path / 'one'}", "training.accumulate=2").wait() == 0
    one = adapter_of(tmp_path / "one")
    for name, value in adapter_of(tmp_path / "tuned").items():
        torch.testing.assert_close(value, one[name], rtol=1e-3, atol=1e-5)
