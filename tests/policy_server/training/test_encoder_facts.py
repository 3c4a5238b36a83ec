import dataclasses
from pathlib import Path

import pytest
import torch

from policy_server.model.encoder import EncoderConfig, ObservationEncoder
from policy_server.runtime.errors import ConfigurationError, DatasetError
from policy_server.training.encoder_facts import (
    CollapsedEncoderError,
    EncoderFacts,
    probe_encoder,
    probe_table,
    read_encoder,
    read_facts,
    write_encoder,
)
from policy_server.training.episodes import load_episodes
from policy_server.training.probe import Probe
from tests.small_policy import FEATURES, small_spec, write_small_dataset

SIZES = EncoderConfig((8, 8), 6)


def encoder(sizes: EncoderConfig = SIZES) -> ObservationEncoder:
    return ObservationEncoder(small_spec().cameras, sizes)


def facts(embedding_std: float = 0.5) -> EncoderFacts:
    probe = Probe({"lamp_red": 0.25, "goal_x": None}, embedding_std, 40)
    return EncoderFacts("dynamics", 12, "fingerprint", probe, probe)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert read_facts(tmp_path) is None
    trained = encoder()
    write_encoder(tmp_path, trained, facts())
    assert read_facts(tmp_path) == facts()
    for name, value in read_encoder(tmp_path, small_spec(), SIZES).state_dict().items():
        torch.testing.assert_close(value, trained.state_dict()[name], rtol=0, atol=0)


def test_a_collapsed_encoder_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    for std in (0.01, float("nan")):
        with pytest.raises(CollapsedEncoderError, match="objective=dynamics"):
            write_encoder(tmp_path, encoder(), facts(std))
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_encoder_are_refused(tmp_path: Path) -> None:
    write_encoder(tmp_path, encoder(), facts())
    with pytest.raises(ConfigurationError, match="another encoder"):
        read_encoder(tmp_path, small_spec(), EncoderConfig((8, 8), 7))


def test_the_probe_is_scored_on_the_episodes_that_were_held_out(tmp_path: Path) -> None:
    dataset = write_small_dataset(tmp_path / "data")
    seeing_features = dataclasses.replace(small_spec(), features=FEATURES)
    probe = probe_encoder(encoder(), seeing_features, load_episodes(dataset, seeing_features), 2)
    assert probe.ticks == 22
    assert tuple(probe.r2) == FEATURES


def test_a_dataset_without_features_has_nothing_to_probe_and_an_embedding_all_the_same(tmp_path: Path) -> None:
    dataset = write_small_dataset(tmp_path / "data")
    probe = probe_encoder(encoder(), small_spec(), load_episodes(dataset, small_spec()), 2)
    assert probe.r2 == {} and probe.ticks == 22 and probe.embedding_std > 0


def test_a_probe_without_a_whole_episode_that_was_held_out_is_named(tmp_path: Path) -> None:
    dataset = write_small_dataset(tmp_path / "data")
    seeing_features = dataclasses.replace(small_spec(), features=FEATURES)
    with pytest.raises(DatasetError, match="no whole episode beyond the first 3"):
        probe_encoder(encoder(), seeing_features, load_episodes(dataset, seeing_features), 3)


def test_the_table_shows_every_feature() -> None:
    table = probe_table(facts()).splitlines()
    assert len(table) == 3
    assert "lamp_red" in table[1] and "0.250" in table[1]
    assert "goal_x" in table[2] and "constant" in table[2]
