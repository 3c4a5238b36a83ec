import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from policy_server.lora.weights import adapter_pairs, base_state, merged_state
from policy_server.model.policy import DiffusionPolicy
from policy_server.muon.adaptive import AdaptiveConfig
from policy_server.muon.spectrum_log import read_spectra
from policy_server.runtime.errors import ConfigurationError
from policy_server.training.checkpoint import Checkpoint, load_checkpoint, load_start
from policy_server.training.configuration import (
    EncoderTraining,
    HistoryConfig,
    LoraSettings,
    MuonSettings,
    OptimizerConfig,
    TrainingConfig,
    check_settings,
)
from tests.policy_server.lora.tuned_runs import lora_config, train_base, trainer_of
from tests.small_policy import INFO, small_config, write_small_dataset

MUON = OptimizerConfig("muon", 2e-3, warmup_steps=2, muon=MuonSettings(adaptive=AdaptiveConfig(4, 2), spectrum_every=4))
PICTURES = {"features": False, "cameras": small_config(Path(), Path()).cameras}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_small_dataset(tmp_path / "data")


@pytest.fixture
def base(dataset: Path, tmp_path: Path) -> TrainingConfig:
    return train_base(dataset, tmp_path / "base")


def kept(config: TrainingConfig) -> Checkpoint:
    checkpoint = load_checkpoint(config.output)
    assert checkpoint is not None
    return checkpoint


def losses_of(config: TrainingConfig, stop_after: int = 0) -> list[float]:
    trainer, losses = trainer_of(config), list[float]()
    trainer.resume()
    trainer.run(
        lambda step, result: losses.append(result.loss),
        should_stop=lambda: bool(stop_after) and len(losses) == stop_after,
    )
    return losses


def test_the_adapter_alone_is_trained_and_averaged(base: TrainingConfig, tmp_path: Path) -> None:
    config = lora_config(base, tmp_path / "tuned")
    trainer = trainer_of(config)
    adapter = set(trainer.average)
    assert adapter and all("lora_" in name for name in adapter)
    trainer.run()
    checkpoint, started = kept(config), kept(base).average
    for name, value in base_state(checkpoint.model).items():
        assert torch.equal(value, started[name]), name
    assert set(checkpoint.adapter) == adapter
    moved = [name for name in adapter if torch.equal(checkpoint.adapter[name], checkpoint.model[name])]
    assert moved == []  # the average lags behind every tensor that learns
    assert all(pair[1].any() for pair in adapter_pairs(checkpoint.adapter).values())


def test_the_checkpoint_exports_the_base_with_the_averaged_adapter_merged_in(
    base: TrainingConfig, tmp_path: Path
) -> None:
    config = lora_config(base, tmp_path / "tuned")
    losses_of(config)
    checkpoint = kept(config)
    policy = DiffusionPolicy(checkpoint.spec, checkpoint.config.model)
    policy.load_state_dict(checkpoint.average)  # as the export does
    started = kept(base).average
    expected = merged_state(started, adapter_pairs(checkpoint.adapter), 2.0)
    for name, value in policy.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)
    changed = {name for name, value in expected.items() if not torch.equal(value, started[name])}
    assert changed == {f"{path}.weight" for path in adapter_pairs(checkpoint.adapter)}


@pytest.mark.parametrize("rank", [0, 2])
def test_the_scaling_is_the_bases_whatever_the_demonstrations(base: TrainingConfig, tmp_path: Path, rank: int) -> None:
    config = lora_config(base, tmp_path / "tuned", episodes=1, steps=1, lora=LoraSettings(rank))
    losses_of(config)
    checkpoint, started = kept(config), kept(base).average
    names = [name for name in started if name.startswith("scaling.")]
    assert len(names) == 4
    fitted = trainer_of(dataclasses.replace(config, start_from=None, lora=LoraSettings())).model.state_dict()
    for name in names:
        assert torch.equal(checkpoint.average[name], started[name])
        assert torch.equal(checkpoint.model[name], started[name])
        assert not torch.equal(fitted[name], started[name])  # else the test could not fail


SETTINGS: dict[str, dict[str, object]] = {
    "every history setting": {"history": HistoryConfig("progressive", 1, 0.8, dropout=0.3), "past_targets": "none"},
    "muon": {"optimizer": MUON},
    "accumulated": {"accumulate": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))
def test_a_resumed_adapter_repeats_the_loss_curve_of_an_unbroken_one(
    dataset: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    base = train_base(dataset, tmp_path / "base", past_targets=settings.get("past_targets", "all"))
    config = lora_config(base, tmp_path / "broken", steps=9, **settings)
    whole = dataclasses.replace(config, output=tmp_path / "whole")
    unbroken = losses_of(whole)
    assert losses_of(config, stop_after=4) + losses_of(config) == unbroken
    resumed, expected = kept(config), kept(whole)
    for part in ("adapter", "average", "model"):
        for name, value in getattr(resumed, part).items():
            torch.testing.assert_close(value, getattr(expected, part)[name], rtol=0, atol=0)


@pytest.mark.slow
def test_muon_orthonormalises_every_matrix_of_the_adapter(base: TrainingConfig, tmp_path: Path) -> None:
    config = lora_config(base, tmp_path / "tuned", optimizer=MUON, steps=4)
    losses_of(config)
    measured = {row.name for row in read_spectra(config.output / "spectrum")}
    assert measured == set(kept(config).adapter)


@pytest.mark.slow
def test_a_resumed_run_keeps_the_base_that_it_started_from(base: TrainingConfig, tmp_path: Path) -> None:
    config = lora_config(base, tmp_path / "tuned")
    losses_of(config, stop_after=2)
    started = kept(base).average
    losses_of(dataclasses.replace(base, steps=8))  # the base is trained on meanwhile
    losses_of(config)
    for name, value in base_state(kept(config).model).items():
        assert torch.equal(value, started[name])


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["unet_attention", "unet_film", "transformer"])
def test_an_adapter_lowers_the_loss(dataset: Path, tmp_path: Path, backbone: str) -> None:
    small = small_config(dataset, Path())
    base = train_base(dataset, tmp_path / "base", model=dataclasses.replace(small.model, backbone=backbone))  # type: ignore[arg-type]
    config = lora_config(base, tmp_path / "tuned", steps=80, lora=LoraSettings(4, 16.0))
    losses = losses_of(dataclasses.replace(config, optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=10)))
    assert np.mean(losses[-15:]) < 0.8 * np.mean(losses[:15])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("targets", [("attention",), ("encoder",), ("all",)])
def test_an_encoder_learns_by_its_adapter_alone(
    dataset: Path, tmp_path: Path, targets: tuple[str, ...], precision: str
) -> None:
    base = train_base(dataset, tmp_path / "base", **PICTURES)
    config = lora_config(base, tmp_path / "tuned", lora=LoraSettings(2, 4.0, targets), precision=precision, steps=3)
    losses_of(config)
    checkpoint, started = kept(config), kept(base).average
    for name, value in base_state(checkpoint.model).items():
        assert torch.equal(value, started[name]), name
    pairs = adapter_pairs(checkpoint.adapter)
    assert all(up.any() for _, up in pairs.values())
    assert any(path.startswith("encoder.") for path in pairs) == (targets != ("attention",))


@pytest.mark.slow
def test_only_the_bases_own_encoder_may_stand_under_an_adapter(dataset: Path, tmp_path: Path) -> None:
    base = train_base(dataset, tmp_path / "base", **PICTURES, steps=1)
    weights = tmp_path / "encoder.safetensors"
    encoder = {k.removeprefix("encoder."): v for k, v in kept(base).average.items() if k.startswith("encoder.")}
    cached = lora_config(base, tmp_path / "tuned", encoder=EncoderTraining("cached", weights))
    save_file({name: value + 1 for name, value in encoder.items()}, weights)
    with pytest.raises(ConfigurationError, match="not those of start_from"):
        trainer_of(cached)
    save_file(encoder, weights)
    with pytest.raises(ConfigurationError, match="no embeddings at"):  # the encoder is not to blame any more
        trainer_of(cached)
    with pytest.raises(ConfigurationError, match=r"encoder\.mode=cached keeps the encoder"):
        trainer_of(dataclasses.replace(cached, lora=LoraSettings(2, 4.0, ("all",))))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"start_from": None}, "lora.rank=2 needs start_from"),
        ({"lora": LoraSettings(-1)}, "lora.rank=-1"),
        ({"lora": LoraSettings(2, 0.0)}, "lora.alpha=0.0"),
        ({"lora": LoraSettings(2, 4.0, ())}, "lora.targets"),
        ({"optimizer": OptimizerConfig("torch_muon")}, "torch_muon does not train adapters"),
        ({"features": False, **PICTURES, "encoder": EncoderTraining(weights=Path("w"))}, "encoder.weights replace"),
        (
            {"features": False, **PICTURES, "encoder": EncoderTraining("frozen", unfreeze_at_step=3)},
            "encoder.unfreeze_at_step",
        ),
        ({"start_from": None, "lora": LoraSettings(), "start_checkpoint": "best"}, "start_checkpoint=best"),
    ],
)
def test_settings_that_cannot_go_with_an_adapter_are_refused(changes: dict[str, object], reason: str) -> None:
    config = lora_config(small_config(Path("d"), Path("b"), features=True, cameras={}), Path("o"))
    check_settings(config)
    with pytest.raises(ConfigurationError) as refused:
        check_settings(dataclasses.replace(config, **changes))  # type: ignore[arg-type]
    assert reason in str(refused.value)


@pytest.mark.slow
def test_the_best_checkpoint_can_be_the_start(base: TrainingConfig, tmp_path: Path) -> None:
    policy = DiffusionPolicy(kept(base).spec, base.model)
    with pytest.raises(ConfigurationError, match=r"start_checkpoint=best: no best\.pt"):
        load_start(policy, base.output, "best")
    (base.output / "best.pt").write_bytes((base.output / "checkpoint.pt").read_bytes())
    losses_of(dataclasses.replace(base, steps=8))
    load_start(policy, base.output, "best")
    best, last = load_checkpoint(base.output, "best.pt"), kept(base)
    assert best is not None and best.step == 4 and last.step == 8
    for name, value in policy.state_dict().items():
        assert torch.equal(value, best.average[name])
    assert INFO.task == best.spec.task
