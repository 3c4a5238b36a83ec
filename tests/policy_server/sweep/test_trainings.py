from pathlib import Path

import pytest

from policy_server.runtime.configuration import load
from policy_server.runtime.errors import ConfigurationError
from policy_server.sweep.trainings import count_parameters, make_policy, make_training, merged, write_training
from policy_server.training.configuration import TrainingConfig
from tests.small_policy import write_small_dataset

UNET = {"model": {"backbone": "unet_attention", "unet": {"widths": [16], "heads": 2}}}


def test_later_settings_replace_earlier_ones_at_every_depth() -> None:
    base = {"steps": 5, "model": {"unet": {"widths": [8], "heads": 2}}}
    assert merged(base, {"model": {"unet": {"heads": 4}}}, {"steps": 6}) == {
        "steps": 6,
        "model": {"unet": {"widths": [8], "heads": 4}},
    }
    assert base == {"steps": 5, "model": {"unet": {"widths": [8], "heads": 2}}}


def test_a_list_is_replaced_as_a_whole() -> None:
    assert merged({"widths": [1, 2]}, {"widths": [3]}) == {"widths": [3]}


def test_a_training_is_read_as_it_was_written(tmp_path: Path) -> None:
    config = make_training("run", tmp_path / "run", 3, {"dataset": "data", "features": True}, UNET)
    assert (config.seed, config.output, config.model.unet.widths) == (3, tmp_path / "run", (16,))
    assert load(TrainingConfig, write_training(config)) == config


@pytest.mark.parametrize(
    ("settings", "names"),
    [({"seed": 1}, "run: 'seed'"), ({"output": "x"}, "'output'"), ({"modell": {}}, "did you mean 'model'")],
)
def test_settings_that_are_not_theirs_are_refused(tmp_path: Path, settings: dict[str, object], names: str) -> None:
    with pytest.raises(ConfigurationError, match=names):
        make_training("run", tmp_path, 0, {"dataset": "data"}, settings)


def test_parameters_are_counted_on_the_networks_that_are_trained(tmp_path: Path) -> None:
    dataset = write_small_dataset(tmp_path / "data", (5,))
    chunk = {"past_steps": 2, "future_steps": 6, "replan_every_ticks": 2}
    config = make_training("run", tmp_path, 0, {"dataset": dataset, "features": True, "chunk": chunk}, UNET)
    policy = make_policy(config)
    assert count_parameters(config) == sum(parameter.numel() for parameter in policy.parameters()) > 10_000
