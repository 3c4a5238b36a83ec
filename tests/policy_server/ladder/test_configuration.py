from pathlib import Path

import pytest
import yaml

from policy_server.ladder.configuration import load_ladder
from policy_server.runtime.errors import ConfigurationError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["ladder", "ladder_gpu"])
def test_the_shipped_ladders_are_read(name: str) -> None:
    config = load_ladder(ROOT / "config/muon" / f"{name}.yaml")
    assert config.name == name and len(config.seeds) > 1
    assert all(len(family.rungs) >= 5 for family in config.families.values())


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"seeds": [1, 1]}, "seeds"),
        ({"seeds": []}, "seeds"),
        ({"families": {}}, "families"),
        ({"families": {"unet": {"rungs": {"a": {}}}}}, "families.unet.rungs: a law needs at least two sizes"),
        ({"confidence": 95}, "confidence 95"),
        ({"plateau": {"from_step": 10, "to_step": 5}}, "plateau.to_step 5"),
        ({"plateau": {"from": 10}}, "unknown key 'plateau.from'"),
    ],
)
def test_values_that_do_not_fit_are_named(tmp_path: Path, changes: dict[str, object], names: str) -> None:
    values = {
        "name": "l",
        "output": "o",
        "results": "r",
        "base": {},
        "families": {"unet": {"rungs": {"a": {}, "b": {}}}},
    }
    file = tmp_path / "ladder.yaml"
    file.write_text(yaml.safe_dump(values))
    load_ladder(file)
    file.write_text(yaml.safe_dump(values | changes))
    with pytest.raises(ConfigurationError, match=names):
        load_ladder(file)
