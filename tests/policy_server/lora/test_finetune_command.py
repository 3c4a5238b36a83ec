import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from policy_server import finetune
from policy_server.lora import __main__ as lora
from policy_server.lora.finetuning import FinetuneConfig, read_base, training_of
from policy_server.lora.weights import base_state
from policy_server.runtime import configuration
from policy_server.runtime.adapter import read_adapter
from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.errors import BundleError, ConfigurationError, PolicyError
from policy_server.training.checkpoint import BEST_FILE, Checkpoint, choose_checkpoint, save_checkpoint
from policy_server.training.configuration import TrainingConfig
from policy_server.training.encoder_facts import WEIGHTS_FILE
from tests.policy_server.lora.tuned_runs import train_base
from tests.small_policy import small_config, write_small_dataset

ROOT = Path(__file__).parents[3]
SETTINGS = {
    "demonstrations": 2,
    "lora": {"rank": 2, "targets": ["attention"]},
    "training": {"steps": 4, "checkpoint_every": 2, "optimizer": {"warmup_steps": 1, "learning_rate": 0.05}},
}

Command = Callable[..., int]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_small_dataset(tmp_path / "data")


@pytest.fixture
def tune(tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """``policy_server.finetune`` from the base in ``base`` into ``tuned``, in this process."""
    file = tmp_path / "finetune.yaml"
    places = {"base": str(tmp_path / "base"), "dataset": str(dataset), "output": str(tmp_path / "tuned")}
    file.write_text(yaml.safe_dump(SETTINGS | places), encoding="utf-8")

    def run(*overrides: str) -> int:
        monkeypatch.setattr(sys, "argv", ["finetune", str(file), *overrides])
        return finetune.main()

    return run


@pytest.fixture
def run_lora(monkeypatch: pytest.MonkeyPatch) -> Command:
    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["lora", *map(str, arguments)])
        return lora.main()

    return run


def facts_of(run: Path) -> dict[str, object]:
    facts: dict[str, object] = json.loads((run / finetune.FACTS_FILE).read_text(encoding="utf-8"))
    return facts


def weights_differ(one: Checkpoint, other: Checkpoint) -> bool:
    return any(not torch.equal(value, other.average[name]) for name, value in one.average.items())


@pytest.mark.slow
def test_an_adapter_is_trained_and_goes_on_where_it_stopped(
    dataset: Path, tmp_path: Path, tune: Command, run_lora: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    train_base(dataset, tmp_path / "base")
    assert tune() == 0
    output = capsys.readouterr().out
    facts = facts_of(tmp_path / "tuned")
    assert (facts["method"], facts["demonstrations"], facts["rank"]) == ("lora", 2, 2)
    share = facts["trained_fraction"]
    assert isinstance(share, float) and 0 < share < 0.3 and f"{share:.2%}" in output
    assert output.rstrip().endswith(f"are in {tmp_path / 'tuned'}")
    begun, base = choose_checkpoint(tmp_path / "tuned"), choose_checkpoint(tmp_path / "base")
    assert begun.config.episodes == 2 and weights_differ(begun, base)
    assert tune("training.steps=6") == 0
    assert choose_checkpoint(tmp_path / "tuned").step == 6
    with pytest.raises(ConfigurationError, match="another configuration"):
        tune("lora.rank=3")
    assert run_lora("describe", tmp_path / "tuned") == 0
    assert "tuned by an adapter of rank 2" in capsys.readouterr().out
    assert run_lora("describe", tmp_path / "base", "--rank", "4", "--targets", "conv") == 0
    assert "an adapter of rank 4 on conv" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "scratch"])
def test_the_other_methods_train_all_weights(dataset: Path, tmp_path: Path, tune: Command, method: str) -> None:
    train_base(dataset, tmp_path / "base")
    assert tune(f"method={method}") == 0
    facts = facts_of(tmp_path / "tuned")
    assert facts["trained_fraction"] == 1.0 and facts["rank"] == 0
    tuned, base = choose_checkpoint(tmp_path / "tuned"), choose_checkpoint(tmp_path / "base")
    assert torch.equal(tuned.average["scaling.state_mean"], base.average["scaling.state_mean"]) == (method == "full")


@pytest.mark.slow
def test_pictures_are_encoded_once_by_the_bases_encoder(dataset: Path, tmp_path: Path, tune: Command) -> None:
    train_base(dataset, tmp_path / "base", features=False, cameras=small_config(Path(), Path()).cameras)
    assert tune() == 0
    tuned, base = choose_checkpoint(tmp_path / "tuned"), choose_checkpoint(tmp_path / "base")
    assert tuned.config.encoder.mode == "cached"
    assert list((dataset / ".embeddings").rglob("embeddings.npy"))
    assert weights_differ(tuned, base)
    for name, value in base_state(tuned.model).items():
        assert torch.equal(value, base.average[name])
    encoder = (tmp_path / "tuned" / WEIGHTS_FILE).read_bytes()
    better = {
        name: value if name.startswith("encoder.") or not value.is_floating_point() else value * 1.01
        for name, value in base.average.items()
    }
    save_checkpoint(tmp_path / "base", dataclasses.replace(base, average=better), BEST_FILE)  # meanwhile
    assert tune("training.steps=5") == 0
    resumed = choose_checkpoint(tmp_path / "tuned")
    assert resumed.step == 5 and resumed.config.start_checkpoint == "last"
    assert (tmp_path / "tuned" / WEIGHTS_FILE).read_bytes() == encoder
    for name, value in base_state(resumed.model).items():
        assert torch.equal(value, base.average[name])
    assert tune("lora.targets=[all]", f"output={tmp_path / 'all'}") == 0
    adapted = choose_checkpoint(tmp_path / "all")
    assert adapted.config.encoder.mode == "end_to_end" and any("encoder." in name for name in adapted.adapter)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_adapter_and_bundle_are_written_and_belong_together(
    dataset: Path, tmp_path: Path, tune: Command, run_lora: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    train_base(dataset, tmp_path / "base")
    base_bundle, adapter, file = tmp_path / "base_bundle", tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    with pytest.raises(BundleError, match="no bundle at"):  # before anything is trained
        tune(f"adapter={adapter}", f"base_bundle={base_bundle}")
    assert not (tmp_path / "tuned").exists()
    assert tune() == 0
    assert run_lora("merge", tmp_path / "tuned", "--alpha", "0", "--output", base_bundle) == 0
    bundle = tmp_path / "bundle"
    assert tune(f"adapter={adapter}", f"base_bundle={base_bundle}", f"bundle={bundle}") == 0
    assert read_adapter(adapter).base_hash == load_bundle(base_bundle).hash
    assert load_bundle(bundle).hash != load_bundle(base_bundle).hash
    assert run_lora("export", tmp_path / "tuned", "--base", base_bundle, "--output", file) == 0
    assert "b" in capsys.readouterr().out and read_adapter(file).name == "b"
    with pytest.raises(PolicyError, match="answers otherwise"):
        run_lora("export", tmp_path / "tuned", "--base", bundle, "--output", file)
    (tmp_path / "sweep").mkdir()
    bundle.rename(tmp_path / "sweep" / "alpha_1")  # not of an interpolation, so it is written anew
    assert run_lora("interpolate", tmp_path / "tuned", "--alphas", "1", "--output", tmp_path / "sweep") == 0
    assert load_bundle(tmp_path / "sweep" / "alpha_1").manifest.training["alpha"] == 1.0


def test_a_run_whose_base_was_moved_is_described_beside_that(
    dataset: Path, tmp_path: Path, run_lora: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    train_base(dataset, tmp_path / "moved", steps=1)
    last = choose_checkpoint(tmp_path / "moved")
    config = dataclasses.replace(last.config, output=tmp_path / "full", start_from=tmp_path / "gone")
    save_checkpoint(tmp_path / "full", dataclasses.replace(last, config=config))
    with pytest.raises(ConfigurationError, match="--base-run"):
        run_lora("describe", tmp_path / "full")
    assert run_lora("describe", tmp_path / "full", "--base-run", tmp_path / "moved") == 0
    assert "training in full" in capsys.readouterr().out


def test_a_dataset_of_fewer_demonstrations_is_refused(dataset: Path, tmp_path: Path, tune: Command) -> None:
    train_base(dataset, tmp_path / "base", steps=1)
    with pytest.raises(ConfigurationError, match="episodes=20"):
        tune("demonstrations=20")


def test_a_bundle_that_would_replace_something_else_is_refused_before_the_training(
    dataset: Path, tmp_path: Path, tune: Command
) -> None:
    train_base(dataset, tmp_path / "base", steps=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"holds more than a bundle \(notes.txt\)"):
        tune(f"bundle={tmp_path / 'mine'}")
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize("file", sorted((ROOT / "config" / "finetune").glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_configurations_hold_together(file: Path, tmp_path: Path) -> None:
    if file.stem.endswith("_base"):
        configuration.load(TrainingConfig, file)
        return
    config = configuration.load(FinetuneConfig, file)
    with pytest.raises(ConfigurationError, match="no checkpoint in"):
        read_base(dataclasses.replace(config, base=tmp_path))
    own = configuration.load(TrainingConfig, file.with_name(f"{file.stem}_base.yaml"))
    assert own.output == config.base
    for method in ("lora", "full", "scratch"):
        chosen = dataclasses.replace(config, method=method)
        training = training_of(chosen, Checkpoint(1, own, None, {}, {}, {}, 1, "", []))  # type: ignore[arg-type]
        assert training.steps < own.steps and training.context == own.context
