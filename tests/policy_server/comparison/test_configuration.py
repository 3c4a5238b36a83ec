from pathlib import Path
from typing import Any

import pytest
import yaml

from policy_server.comparison.configuration import load_comparison
from policy_server.runtime.errors import ConfigurationError

ROOT = Path(__file__).parents[3]
VALUES: dict[str, Any] = {
    "name": "c",
    "output": "o",
    "results": "r",
    "base": {},
    "policies": {"unet": {}},
    "contestants": {
        "a": {"optimizer": {"kind": "adamw"}, "learning_rates": [0.1, 0.2]},
        "b": {"optimizer": {"kind": "muon"}, "rate_of": "a"},
    },
    "pairs": [["a", "b"]],
}


def test_the_shipped_comparison_has_three_seeds_and_four_contestants() -> None:
    config = load_comparison(ROOT / "config/muon/comparison.yaml")
    assert len(config.seeds) >= 3
    assert {each.optimizer["kind"] for each in config.contestants.values()} == {"adamw", "torch_muon", "muon"}
    assert ("recipe", "torch_muon") in config.pairs


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"pairs": [["a", "z"]]}, "pairs: no contestant is called 'z'"),
        ({"seeds": [0, 0]}, "seeds"),
        ({"tuning": {"seed": 1}}, "tuning.seed 1"),
        ({"policies": {}}, "policies"),
        ({"timing_rounds": 0}, "timing_rounds 0"),
        ({"validation": {"draws": 0}}, "validation"),
        ({"confidence": 1.0}, "confidence"),
        ({"contestants": {"a": {"optimizer": {}}}, "pairs": []}, "contestants.a: give learning_rates, or rate_of"),
        ({"contestants": {"a": {"optimizer": {}, "rate_of": "b"}}, "pairs": []}, "contestants.a.rate_of 'b'"),
        (
            {"contestants": {"a": {"optimizer": {"learning_rate": 1}, "learning_rates": [1]}}, "pairs": []},
            "give learning_rates instead",
        ),
    ],
)
def test_values_that_do_not_fit_are_named(tmp_path: Path, changes: dict[str, Any], names: str) -> None:
    file = tmp_path / "comparison.yaml"
    file.write_text(yaml.safe_dump(VALUES))
    load_comparison(file)
    file.write_text(yaml.safe_dump(VALUES | changes))
    with pytest.raises(ConfigurationError, match=names):
        load_comparison(file)
