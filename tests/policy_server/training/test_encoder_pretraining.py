import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policy_server.runtime.errors import ConfigurationError
from policy_server.training.configuration import AugmentationConfig, TrainingConfig
from policy_server.training.encoder_objectives import DynamicsConfig, ReconstructionConfig
from policy_server.training.encoder_pretraining import Pretraining, PretrainingConfig, draw_windows, mean_pictures
from policy_server.training.episodes import Episodes, load_episodes
from policy_server.training.trainer import NonFiniteLossError
from tests.small_policy import small_config, small_spec, write_small_dataset

CONFIG = PretrainingConfig(
    steps=12,
    batch_ticks=12,
    warmup_steps=2,
    checkpoint_every=4,
    dynamics=DynamicsConfig(window=3, latent_dim=2, width=16, layers=1, heads=2),
    reconstruction=ReconstructionConfig((8, 8)),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_dataset(tmp_path_factory.mktemp("pretraining") / "data")


@pytest.fixture(scope="module")
def episodes(dataset: Path) -> Episodes:
    return load_episodes(dataset, small_spec())


def pretraining(config: PretrainingConfig, episodes: Episodes, folder: Path, **changes: object) -> Pretraining:
    training: TrainingConfig = small_config(Path(), Path(), **changes)
    return Pretraining(config, training, small_spec(), episodes, folder)


def losses_of(run: Pretraining) -> list[float]:
    losses: list[float] = []
    run.run(lambda step, result: losses.append(result.loss))
    return losses


@pytest.mark.parametrize("objective", ["dynamics", "reconstruction"])
def test_a_resumed_run_repeats_the_loss_curve_of_an_unbroken_one(
    objective: str, episodes: Episodes, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, objective=objective)
    unbroken = pretraining(config, episodes, tmp_path / "unbroken")
    curve = losses_of(unbroken)
    begun: list[float] = []
    first = pretraining(config, episodes, tmp_path / "run")
    first.run(lambda step, result: begun.append(result.loss), lambda: len(begun) == 7)
    second = pretraining(config, episodes, tmp_path / "run")
    second.resume()
    assert second.step == 7
    assert begun + losses_of(second) == curve
    for name, value in unbroken.encoder.state_dict().items():
        torch.testing.assert_close(second.encoder.state_dict()[name], value, rtol=0, atol=0)
    logs = [(tmp_path / name / "loss.csv").read_text().splitlines() for name in ("unbroken", "run")]
    assert [line.split(",")[:2] for line in logs[0]] == [line.split(",")[:2] for line in logs[1]]
    assert len(logs[0]) == 2  # header and step 10


def test_a_run_of_another_configuration_is_refused(episodes: Episodes, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, objective="reconstruction")
    losses_of(pretraining(config, episodes, tmp_path))
    same = pretraining(dataclasses.replace(config, checkpoint_every=1), episodes, tmp_path)
    same.resume()
    assert same.step == 12
    for other in (
        pretraining(dataclasses.replace(config, learning_rate=1e-2), episodes, tmp_path),
        pretraining(config, dataclasses.replace(episodes, fingerprint="other"), tmp_path),
        pretraining(config, episodes, tmp_path, seed=1),
    ):
        with pytest.raises(ConfigurationError, match="another configuration or other episodes"):
            other.resume()


def test_a_loss_that_is_not_finite_stops_with_the_step_named(episodes: Episodes, tmp_path: Path) -> None:
    run = pretraining(dataclasses.replace(CONFIG, objective="dynamics"), episodes, tmp_path)
    with torch.no_grad():
        run.encoder.encoders[0].normalise.weight[0] = float("nan")
    with pytest.raises(NonFiniteLossError, match="step 0"):
        losses_of(run)


def test_a_gradient_that_is_not_finite_stops_before_any_weight_is_changed(episodes: Episodes, tmp_path: Path) -> None:
    run = pretraining(dataclasses.replace(CONFIG, objective="reconstruction"), episodes, tmp_path)
    weight = next(run.encoder.parameters())
    weight.register_hook(lambda gradient: gradient * float("inf") if run.step == 5 else gradient)
    with pytest.raises(NonFiniteLossError, match=r"gradient is (nan|inf) at step 5"):
        losses_of(run)
    assert run.step == 5 and all(value.isfinite().all() for value in run.objective.state_dict().values())
    saved = pretraining(run.config, episodes, tmp_path)
    saved.resume()
    assert saved.step == 4


def test_augmentation_changes_what_the_encoder_sees(episodes: Episodes, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, objective="reconstruction", steps=2)
    plain = losses_of(pretraining(config, episodes, tmp_path / "plain"))
    changed = losses_of(
        pretraining(config, episodes, tmp_path / "changed", augmentation=AugmentationConfig(brightness=0.5))
    )
    assert plain != changed


def test_a_policy_s_encoder_is_not_trained_from_pictures_alone(episodes: Episodes, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="short_policy"):
        pretraining(CONFIG, episodes, tmp_path)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    window=st.integers(1, 6),
    stride=st.integers(1, 4),
    seed=st.integers(0, 100),
)
def test_windows_lie_within_one_episode(lengths: list[int], window: int, stride: int, seed: int) -> None:
    starts = np.cumsum([0, *lengths])
    ticks = draw_windows(starts, 50, window, stride, np.random.default_rng(seed))
    assert ticks.shape == (50, window)
    episode = np.searchsorted(starts, ticks, side="right") - 1
    assert (episode == episode[:, :1]).all()
    steps = np.diff(ticks, axis=1)
    fits = np.array(lengths)[episode[:, 0]] > (window - 1) * stride
    assert (steps[fits] == stride).all()
    assert ((steps >= 0) & (steps <= stride)).all()


def test_every_tick_can_be_seen() -> None:
    starts = np.array([0, 9, 12])
    seen = {int(t) for seed in range(30) for t in draw_windows(starts, 8, 3, 2, np.random.default_rng(seed)).ravel()}
    assert seen == set(range(12))


def test_the_mean_picture_is_the_mean_over_all_ticks(episodes: Episodes) -> None:
    for name, mean in mean_pictures(episodes).items():
        every = episodes.images[name][np.arange(46)]
        np.testing.assert_allclose(mean.numpy(), every.mean(axis=0, dtype=np.float64), rtol=1e-5)
