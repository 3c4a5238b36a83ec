import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from policy_server.model.policy import DiffusionPolicy, ModelConfig
from policy_server.muon.adaptive import AdaptiveConfig
from policy_server.muon.spectrum_log import read_spectra
from policy_server.runtime.errors import ConfigurationError
from policy_server.training.configuration import (
    AugmentationConfig,
    EncoderTraining,
    HistoryConfig,
    MuonSettings,
    OptimizerConfig,
    TrainingConfig,
    policy_spec,
)
from policy_server.training.episodes import load_episodes
from policy_server.training.rows import context_rows, embedding_file
from policy_server.training.trainer import NonFiniteLossError, Trainer
from tests.small_policy import INFO, small_config, small_spec, write_small_dataset

FEATURES_ONLY = {"features": True, "cameras": {}}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_small_dataset(tmp_path / "data")


def trainer(config: TrainingConfig) -> Trainer:
    spec = policy_spec(config, INFO)
    return Trainer(config, spec, load_episodes(config.dataset, spec, limit=config.episodes))


def losses_of(trainer: Trainer) -> list[float]:
    losses: list[float] = []
    trainer.run(lambda step, result: losses.append(result.loss))
    return losses


def learned_curve(output: Path) -> list[dict[str, str]]:
    """The loss curve without what differs between two runs of the same: the times."""
    with (output / "loss.csv").open() as stream:
        return [
            {name: value for name, value in row.items() if name not in ("seconds", "waited_fraction")}
            for row in csv.DictReader(stream)
        ]


QUICK = ("every history setting",)
SETTINGS: dict[str, dict[str, object]] = {
    "cameras": {"augmentation": AugmentationConfig(2, 0.2, 0.2, 0.2)},
    "features": FEATURES_ONLY,
    "every history setting": {**FEATURES_ONLY, "history": HistoryConfig("progressive", 1, 0.8, dropout=0.3)},
    "muon": {
        **FEATURES_ONLY,
        "optimizer": OptimizerConfig(
            "muon", 2e-3, warmup_steps=5, muon=MuonSettings(adaptive=AdaptiveConfig(20, 5), spectrum_every=8)
        ),
    },
    "sprinkle, accumulated": {
        **FEATURES_ONLY,
        "history": HistoryConfig("sprinkle", 1, full_share=0.5),
        "accumulate": 2,
    },
}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(settings, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, settings in SETTINGS.items()
    ],
)
def test_a_resumed_run_repeats_the_loss_curve_of_an_unbroken_one(
    dataset: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    config = small_config(dataset, tmp_path / "run", steps=30, **settings)
    whole = trainer(dataclasses.replace(config, output=tmp_path / "whole"))
    unbroken = losses_of(whole)
    first = trainer(config)
    begun: list[float] = []
    first.run(lambda step, result: begun.append(result.loss), should_stop=lambda: len(begun) == 14)
    second = trainer(config)
    second.resume()
    assert second.step == 14
    assert begun + losses_of(second) == unbroken
    assert learned_curve(config.output) == learned_curve(whole.config.output)
    for name, value in whole.average.items():
        torch.testing.assert_close(second.average[name], value, rtol=0, atol=0)


def test_the_spectra_of_muon_are_in_the_folder_of_the_run(dataset: Path, tmp_path: Path) -> None:
    optimizer = OptimizerConfig("muon", muon=MuonSettings(spectrum_every=2))
    run = trainer(small_config(dataset, tmp_path / "run", steps=4, optimizer=optimizer, **FEATURES_ONLY))
    losses_of(run)
    rows = read_spectra(tmp_path / "run" / "spectrum")
    assert {row.step for row in rows} == {2, 4}
    assert all(row.sigma.max() <= 1 for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["unet_attention", "unet_film", "transformer"])
def test_training_lowers_the_loss(dataset: Path, tmp_path: Path, backbone: str) -> None:
    optimizer = OptimizerConfig(learning_rate=3e-3, warmup_steps=10)
    small = small_config(dataset, tmp_path / "run", steps=80, optimizer=optimizer, **FEATURES_ONLY)
    losses = losses_of(trainer(dataclasses.replace(small, model=dataclasses.replace(small.model, backbone=backbone))))
    assert np.mean(losses[-15:]) < 0.7 * np.mean(losses[:15])


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "bfloat16"},
        {"past_targets": "none"},
        {"past_targets": 2, "history": HistoryConfig(dropout=0.5)},
        {"augmentation": AugmentationConfig(1, 0.1, 0.1, 0.1), "accumulate": 2},
        {"episodes": 2, "context": dataclasses.replace(small_config(Path(), Path()).context, length=1)},
    ],
    ids=str,
)
def test_settings_train(dataset: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    run = trainer(small_config(dataset, tmp_path / "run", steps=3, **settings))
    before = {name: value.clone() for name, value in run.model.named_parameters()}
    assert np.isfinite(losses_of(run)).all()
    still = [name for name, value in run.model.named_parameters() if torch.equal(value, before[name])]
    assert still == []


def test_a_run_of_another_configuration_is_refused(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run")
    losses_of(trainer(config))
    same = trainer(dataclasses.replace(config, checkpoint_every=1, threads=2))
    same.resume()
    assert same.step == config.steps
    with pytest.raises(ConfigurationError, match="another configuration"):
        trainer(dataclasses.replace(config, batch_windows=4)).resume()
    with pytest.raises(ConfigurationError, match="1 batches per step, this is 2"):
        trainer(dataclasses.replace(config, accumulate=2)).resume()


def test_a_run_on_other_episodes_is_refused(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run")
    losses_of(trainer(config))
    with pytest.raises(ConfigurationError, match="other episodes"):
        trainer(dataclasses.replace(config, episodes=2)).resume()


def test_a_loss_that_is_not_finite_stops_with_the_step_named_and_keeps_the_last_checkpoint(
    dataset: Path, tmp_path: Path
) -> None:
    run = trainer(small_config(dataset, tmp_path / "run", checkpoint_every=2))

    def break_it(step: int, _: object) -> None:
        if step == 5:
            with torch.no_grad():
                next(run.model.denoiser.parameters()).fill_(float("nan"))

    with pytest.raises(NonFiniteLossError, match="step 5"):
        run.run(break_it)
    resumed = trainer(run.config)
    resumed.resume()
    assert resumed.step == 4
    assert all(value.isfinite().all() for value in resumed.model.state_dict().values())


def test_encoding_each_frame_once_gives_what_encoding_all_gives(dataset: Path, tmp_path: Path) -> None:
    run = trainer(small_config(dataset, tmp_path / "run"))
    batch = run.reader.read(0, 0)
    with torch.no_grad():
        together = context_rows(batch, run.model.encode(batch.images))
        for row, slots in enumerate(batch.slots):
            alone = run.model.encode({name: images[slots] for name, images in batch.images.items()})
            torch.testing.assert_close(together[row, :, 1 : -len(INFO.proprioception_joints)], alone)


def test_the_chunk_does_not_grow_with_the_context() -> None:
    lengths = {
        small_spec(context=dataclasses.replace(small_config(Path(), Path()).context, length=n)).action.horizon
        for n in (2, 16, 64)
    }
    assert lengths == {8}


def encoder_weights(config: TrainingConfig, file: Path) -> Path:
    torch.manual_seed(17)
    save_file(DiffusionPolicy(policy_spec(config, INFO), config.model).encoder.state_dict(), file)
    return file


def test_a_frozen_encoder_keeps_the_weights_it_is_given(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run", steps=4)
    weights = encoder_weights(config, tmp_path / "encoder.safetensors")
    frozen = trainer(dataclasses.replace(config, encoder=EncoderTraining("frozen", weights)))
    given = {name: value.clone() for name, value in frozen.model.encoder.state_dict().items()}
    losses_of(frozen)
    for name, value in frozen.model.encoder.state_dict().items():
        torch.testing.assert_close(value, given[name], rtol=0, atol=0)
        torch.testing.assert_close(frozen.average[f"encoder.{name}"], given[name], rtol=0, atol=0)


def test_an_encoder_may_start_from_given_weights_and_be_trained(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run", steps=2)
    weights = encoder_weights(config, tmp_path / "encoder.safetensors")
    plain, given = trainer(config), load_file(weights)
    run = trainer(dataclasses.replace(config, encoder=EncoderTraining(weights=weights)))

    def encoder_of(other: Trainer) -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in other.model.encoder.state_dict().items()}

    assert all(torch.equal(value, given[name]) for name, value in encoder_of(run).items())
    assert not all(torch.equal(value, given[name]) for name, value in encoder_of(plain).items())
    losses_of(run)
    assert not any(torch.equal(value, given[name]) for name, value in encoder_of(run).items())


def test_an_encoder_is_trained_from_the_step_on_at_which_it_is_unfrozen(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run", steps=6)
    weights = encoder_weights(config, tmp_path / "encoder.safetensors")
    run = trainer(dataclasses.replace(config, encoder=EncoderTraining("frozen", weights, unfreeze_at_step=4)))
    given = [value.clone() for value in run.model.encoder.parameters()]
    moved: list[bool] = []
    run.run(
        lambda step, _: moved.append(
            any(not torch.equal(a, b) for a, b in zip(given, run.model.encoder.parameters(), strict=True))
        )
    )
    assert moved == [False] * 4 + [True] * 2


def test_cached_embeddings_train_what_the_frozen_encoder_trains(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "frozen", steps=6)
    weights = encoder_weights(config, tmp_path / "encoder.safetensors")
    frozen = trainer(dataclasses.replace(config, encoder=EncoderTraining("frozen", weights)))
    images = {name: torch.from_numpy(frames[:]) for name, frames in frozen.episodes.images.items()}
    with torch.no_grad():
        embeddings = frozen.model.encode(images).numpy().astype(np.float16)
    file = embedding_file(dataset, frozen.spec, config.model.encoder, weights, frozen.episodes)
    file.parent.mkdir(parents=True)
    np.save(file, embeddings)
    cached = trainer(
        dataclasses.replace(config, output=tmp_path / "cached", encoder=EncoderTraining("cached", weights))
    )
    np.testing.assert_allclose(losses_of(cached), losses_of(frozen), rtol=2e-2)


def test_embeddings_that_were_not_written_are_refused(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run")
    weights = encoder_weights(config, tmp_path / "encoder.safetensors")
    with pytest.raises(ConfigurationError, match="no embeddings"):
        trainer(dataclasses.replace(config, encoder=EncoderTraining("cached", weights)))


def test_weights_of_another_encoder_are_refused(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run")
    other = dataclasses.replace(
        config, model=ModelConfig(encoder=dataclasses.replace(config.model.encoder, embedding_dim=7))
    )
    weights = encoder_weights(
        dataclasses.replace(other, model=dataclasses.replace(other.model, unet=config.model.unet)),
        tmp_path / "e.safetensors",
    )
    with pytest.raises(ConfigurationError, match="another encoder"):
        trainer(dataclasses.replace(config, encoder=EncoderTraining("frozen", weights)))
    (tmp_path / "torn.safetensors").write_bytes(weights.read_bytes()[:100])
    for name in ("torn.safetensors", "missing.safetensors"):
        with pytest.raises(ConfigurationError, match="cannot read"):
            trainer(dataclasses.replace(config, encoder=EncoderTraining("frozen", tmp_path / name)))
