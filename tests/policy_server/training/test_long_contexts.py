"""Contexts of 256 observations: drawn, padded, trained and sampled."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from policy_server.runtime.windows import select_context
from policy_server.training.configuration import ContextConfig, HistoryConfig, policy_spec
from policy_server.training.episodes import Episodes, load_episodes
from policy_server.training.trainer import Trainer
from policy_server.training.windows import gather_windows, lay_out
from tests.small_networks import BACKBONES, network_config, network_spec, random_context, random_noise, random_policy
from tests.small_policy import INFO, PERIOD_NS, small_config, small_spec, write_small_dataset

LONG = ContextConfig(256, 3)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_one_of_256_rows_can_change_the_chunk(backbone: str) -> None:
    spec = network_spec(context_length=256)
    model, context = random_policy(spec, network_config(backbone)), random_context(spec).requires_grad_()
    model.sample(context, random_noise(spec)).square().sum().backward()
    assert context.grad is not None
    reaches = context.grad[0, :, 1:].abs().amax(1)
    assert reaches.shape == (256,) and (reaches > 0).all() and reaches.isfinite().all()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_trains_with_256_observations(backbone: str, tmp_path: Path) -> None:
    dataset = write_small_dataset(tmp_path / "data")
    base = small_config(dataset, tmp_path / "run", steps=2, context=LONG, features=True, cameras={})
    model = dataclasses.replace(base.model, **vars(network_config(backbone)))
    config = dataclasses.replace(base, model=model, history=HistoryConfig("sprinkle", full_share=1.0))
    spec = policy_spec(config, INFO)
    run = Trainer(config, spec, load_episodes(dataset, spec))
    assert run.reader.read(0, 0).states.shape[:2] == (8, 256)
    before = {name: value.clone() for name, value in run.model.named_parameters()}
    losses: list[float] = []
    run.run(lambda step, result: losses.append(result.loss))
    assert np.isfinite(losses).all() and len(losses) == 2
    assert [name for name, value in run.model.named_parameters() if torch.equal(value, before[name])] == []


def test_slots_before_the_episode_repeat_its_first_observation_and_bear_their_own_age() -> None:
    spec = small_spec(context=LONG)
    lengths = (40, 900)
    stamps_ns = np.concatenate([PERIOD_NS * np.arange(1, length + 1, dtype=np.int64) for length in lengths])
    starts = np.cumsum([0, *lengths])
    numbers = np.arange(starts[-1], dtype=np.float32)[:, None]
    episodes = Episodes(starts, stamps_ns, numbers, numbers, {}, "")
    newest = np.array([25, starts[1] + 20, starts[2] - 1])
    windows = gather_windows(episodes, lay_out(episodes, spec), spec, newest)
    np.testing.assert_array_equal(windows.ticks[0], np.maximum(25 - 3 * np.arange(255, -1, -1), 0))
    np.testing.assert_array_equal(windows.ticks[1], starts[1] + np.maximum(20 - 3 * np.arange(255, -1, -1), 0))
    assert len(set(windows.ticks[2])) == 256, "a long episode fills every slot"
    for row, (start, end) in zip((0, 1, 2), ((0, 40), (40, 940), (40, 940)), strict=True):
        indices, ages_s = select_context(
            stamps_ns[start:end], newest[row] - start, spec.history.offsets_ticks, spec.period_ns
        )
        np.testing.assert_array_equal(windows.ticks[row], start + indices)
        np.testing.assert_array_equal(windows.ages_s[row], ages_s)
    np.testing.assert_allclose(windows.ages_s[0], np.arange(255, -1, -1) * 0.3, atol=1e-5)
