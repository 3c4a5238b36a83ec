import dataclasses
from pathlib import Path

import pytest
import torch

from policy_server.model.encoder import EncoderConfig
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.errors import ConfigurationError
from policy_server.training.checkpoint import CHECKPOINT_FILE, load_start
from policy_server.training.configuration import policy_spec
from policy_server.training.episodes import load_episodes
from policy_server.training.trainer import Trainer
from tests.small_policy import INFO, small_config, write_small_dataset


def test_a_run_starts_with_another_s_averaged_weights_and_scaling(tmp_path: Path) -> None:
    first = small_config(write_small_dataset(tmp_path / "data"), tmp_path / "first", steps=4)
    spec = policy_spec(first, INFO)
    episodes = load_episodes(first.dataset, spec)
    earlier = Trainer(first, spec, episodes)
    earlier.run()
    other = load_episodes(write_small_dataset(tmp_path / "other", (11, 8)), spec)
    config = dataclasses.replace(first, output=tmp_path / "second", start_from=first.output, seed=5)
    later = Trainer(config, spec, other)
    for name, value in later.model.state_dict().items():
        torch.testing.assert_close(value, earlier.average[name], rtol=0, atol=0)
    unlike = Trainer(dataclasses.replace(config, start_from=None), spec, other)
    assert not torch.equal(unlike.model.scaling.action_middle, later.model.scaling.action_middle)


def test_a_start_without_a_run_is_refused(tmp_path: Path) -> None:
    config = small_config(tmp_path, tmp_path)
    policy = DiffusionPolicy(policy_spec(config, INFO), config.model)
    with pytest.raises(ConfigurationError, match="start_from: no checkpoint"):
        load_start(policy, tmp_path)


def test_a_start_with_other_networks_is_refused(tmp_path: Path) -> None:
    config = small_config(write_small_dataset(tmp_path / "data"), tmp_path / "run", steps=1)
    spec = policy_spec(config, INFO)
    Trainer(config, spec, load_episodes(config.dataset, spec)).run()
    model = dataclasses.replace(config.model, encoder=EncoderConfig((8, 8), 5))
    other = dataclasses.replace(config, model=model)
    with pytest.raises(ConfigurationError, match="has other networks"):
        load_start(DiffusionPolicy(policy_spec(other, INFO), model), tmp_path / "run")


def test_a_checkpoint_that_was_cut_short_is_named(tmp_path: Path) -> None:
    config = small_config(write_small_dataset(tmp_path / "data"), tmp_path / "run", steps=1)
    spec = policy_spec(config, INFO)
    episodes = load_episodes(config.dataset, spec)
    Trainer(config, spec, episodes).run()
    file = config.output / CHECKPOINT_FILE
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not a checkpoint"):
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"checkpoint\.pt' cannot be read") as refusal:
            Trainer(config, spec, episodes).resume()
        assert "\n" not in str(refusal.value)
