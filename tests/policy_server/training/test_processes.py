"""Training as it is really run: processes that are killed, and processes that train together."""

import csv
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime import configuration
from policy_server.training.configuration import EncoderTraining, HistoryConfig, TrainingConfig, policy_spec
from tests.small_policy import INFO, small_config, write_small_dataset

TRAIN = ("-m", "policy_server.train")
TORCHRUN = ("-m", "torch.distributed.run")
TOGETHER = (*TORCHRUN, "--standalone", "--nproc-per-node", "2")
# A progressive curriculum, dropped histories and pictures, so that every kind of draw is among what must be repeated.
SETTINGS: dict[str, object] = {"history": HistoryConfig("progressive", 1, 0.9, dropout=0.2), "threads": 1}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_small_dataset(tmp_path / "data")


def written(config: TrainingConfig) -> Path:
    file = config.output.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(configuration.to_plain(config)))
    return file


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )


def finished(process: subprocess.Popen[str], status: int = 0) -> str:
    output, _ = process.communicate()
    assert process.returncode == status, output
    return output


def curve(output: Path) -> list[dict[str, str]]:
    """The loss curve without its times."""
    with (output / "loss.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    return [{k: v for k, v in row.items() if k not in ("seconds", "waited_fraction")} for row in rows]


def wait_for(file: Path, process: subprocess.Popen[str], newer_than_ns: int = 0) -> None:
    while not (file.exists() and file.stat().st_mtime_ns > newer_than_ns):
        assert process.poll() is None, "training ended before it was killed"
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_that_is_killed_twice_has_the_loss_curve_of_an_unbroken_one(dataset: Path, tmp_path: Path) -> None:
    # 7 does not divide 10, so the kill falls between two lines of the curve.
    settings = SETTINGS | {"steps": 60, "checkpoint_every": 7}
    unbroken = small_config(dataset, tmp_path / "unbroken", **settings)
    killed = small_config(dataset, tmp_path / "killed", **settings)
    finished(start(*TRAIN, written(unbroken)))
    last_ns = 0
    for _ in range(2):
        process = start(*TRAIN, written(killed))
        wait_for(killed.output / "checkpoint.pt", process, last_ns)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        last_ns = (killed.output / "checkpoint.pt").stat().st_mtime_ns
    output = finished(start(*TRAIN, written(killed)))
    assert "from step 0 " not in output and "trained to step 60 of 60" in output
    assert curve(killed.output) == curve(unbroken.output) and len(curve(killed.output)) == 6
    assert weights(killed.output).keys() == weights(unbroken.output).keys()
    for name, value in weights(unbroken.output).items():
        torch.testing.assert_close(weights(killed.output)[name], value, rtol=0, atol=0)


def weights(output: Path) -> dict[str, torch.Tensor]:
    content = torch.load(output / "checkpoint.pt", weights_only=True)
    return content["model"] | {f"average.{name}": value for name, value in content["average"].items()}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def train_on_two_machines(*arguments: str | Path) -> str:
    """Two agents of torchrun that find each other over the network, each with one process."""
    where = ("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d")
    endpoint = ("--rdzv-endpoint", f"127.0.0.1:{free_port()}")
    agents = [start(*TORCHRUN, *where, *endpoint, *TRAIN, *arguments) for _ in range(2)]
    return "".join(finished(agent) for agent in agents)


def train_on_one_machine(*arguments: str | Path) -> str:
    return finished(start(*TOGETHER, *TRAIN, *arguments))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("backbone", "encoder", "train_together"),
    [
        ("unet_attention", "end_to_end", train_on_two_machines),
        ("unet_film", "frozen, then not", train_on_one_machine),
        ("transformer", "end_to_end", train_on_one_machine),
    ],
)
def test_two_processes_train_what_one_trains_with_twice_the_batches(
    dataset: Path, tmp_path: Path, backbone: str, encoder: str, train_together: Callable[..., str]
) -> None:
    small = small_config(dataset, tmp_path, **SETTINGS | {"steps": 20, "checkpoint_every": 100})
    plain = configuration.to_plain(
        dataclasses.replace(small, model=dataclasses.replace(small.model, backbone=backbone))
    )
    if encoder != "end_to_end":
        weights_file = tmp_path / "encoder.safetensors"
        save_file(DiffusionPolicy(policy_spec(small, INFO), small.model).encoder.state_dict(), weights_file)
        plain["encoder"] = {"mode": "frozen", "weights": str(weights_file), "unfreeze_at_step": 12}
    file = tmp_path / "training.yaml"
    file.write_text(yaml.safe_dump(plain))
    alone, together = tmp_path / "alone", tmp_path / "together"
    finished(start(*TRAIN, file, f"output={alone}", "accumulate=2"))
    output = train_together(file, f"output={together}")
    assert output.count("2 processes") == 1, "only the first process speaks"
    for one, two in zip(curve(alone), curve(together), strict=True):
        assert float(one["loss"]) == pytest.approx(float(two["loss"]), rel=1e-3)
    ours = weights(together)
    for name, value in weights(alone).items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-5)
    resumed = finished(start(*TRAIN, file, f"output={together}", "accumulate=2", "steps=22"))
    assert "from step 20 " in resumed, "the same batches per step may be divided anew among processes"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_interrupted_run_says_so_and_keeps_its_last_step(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run", steps=100_000, checkpoint_every=5)
    process = start(*TRAIN, written(config))
    wait_for(config.output / "checkpoint.pt", process)
    process.send_signal(signal.SIGINT)
    output = finished(process, status=130)
    step = int(output.split("trained to step ")[1].split()[0])
    assert torch.load(config.output / "checkpoint.pt", weights_only=True)["step"] == step


@pytest.mark.slow
def test_a_setting_that_cannot_be_is_one_line(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run", encoder=EncoderTraining("frozen"))
    output = finished(start(*TRAIN, written(config)), status=2)
    assert output.strip().splitlines()[-1].startswith("error: encoder.mode=frozen needs encoder.weights")
