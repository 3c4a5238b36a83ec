"""Polar configurations: what is refused, and how one reads."""

from typing import Any

import pytest

from policy_server.muon.configuration import PolarConfig, describe_config
from policy_server.runtime.errors import ConfigurationError


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"steps": 0}, "steps: 0"),
        ({"method": "halley", "form": "direct"}, "form: the method 'halley'"),
        ({"method": "eigh", "form": "direct"}, "form: the method 'eigh'"),
        ({"method": "custom"}, "coefficients: empty"),
        ({"method": "jordan", "coefficients": ((1.0, 0.0, 0.0),)}, "coefficients: given"),
        ({"method": "halley", "form": "gram", "lower": 1.0}, "lower: 1.0"),
        ({"restart_every": -1}, "restart_every: -1"),
        ({"method": "eigh", "form": "gram", "restart_every": 2}, "restart_every: 2"),
    ],
)
def test_values_that_do_not_fit_are_named(values: dict[str, Any], names: str) -> None:
    with pytest.raises(ConfigurationError, match=names):
        PolarConfig(**values)


def test_restarts_cut_the_steps_into_segments() -> None:
    config = PolarConfig("polar_express", 5, "gram", restart_every=2)
    assert [len(segment) for segment in config.segments()] == [2, 2, 1]
    assert sum(config.segments(), ()) == config.triples()
    assert len(PolarConfig("eigh", 1, "gram").segments()) == 1


def test_a_configuration_reads_as_a_few_words() -> None:
    config = PolarConfig("halley", 2, "gram", scale="schatten4")
    assert describe_config(config) == "halley x2 from 0.001, gram, float32, schatten4"
