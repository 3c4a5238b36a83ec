import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from policy_server.lora.lab.cells import make_cells, make_groups
from policy_server.lora.lab.configuration import load_lab
from policy_server.runtime.errors import ConfigurationError
from tests.policy_server.lora.lab.small_lab import cells_of, small_config

COMMITTED = sorted((Path(__file__).parents[4] / "config/lora").glob("*.yaml"))


def write(tmp_path: Path, **values: Any) -> Path:
    file = tmp_path / "lab.yaml"
    file.write_text(yaml.safe_dump({"name": "a", "output": "runs/a", "series": {"one": {}}, **values}))
    return file


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"series": {}}, "give at least one"),
        ({"instances": 0}, "instances 0"),
        ({"threshold": 1.0}, "threshold 1.0"),
        ({"base": {"neurons": [50], "dimensions": [52]}}, "dimension 52: give at least neurons + 3 = 53"),
        ({"base": {"scales": [0.0]}}, "give positive numbers"),
        ({"base": {"student": "linearised", "method": "plain"}}, "take method reduced"),
        ({"base": {"student": "scratch", "rows": "separated"}}, "set rows: orthonormal"),
        ({"base": {"recover": True, "coefficients": "spherical"}}, "needs coefficients: quantised"),
        ({"loss_levels": {"two": 0.1}}, "no series 'two'; there are: one"),
        ({"base": {"activatoin": "relu"}}, "did you mean 'activation'?"),
        ({"base": {"activation": "cosine"}}, "activation"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_lab(write(tmp_path, **values))
    assert message in str(refused.value)


def test_a_series_overrides_what_is_common(tmp_path: Path) -> None:
    _, series = load_lab(write(tmp_path, base={"activation": "he3", "horizon": 7}, series={"one": {"horizon": 8}}))
    assert (series["one"].activation, series["one"].horizon) == ("he3", 8)


def test_the_step_size_follows_its_rule() -> None:
    one, wide = cells_of(dimensions=(40, 80), scales=(0.5,), d_power=2.0)
    assert one.strength == pytest.approx(math.sqrt(5))
    assert one.step_size == pytest.approx(0.5 * 2 * 40**-2 * 5**-0.5)
    assert one.step_size / wide.step_size == pytest.approx(4)
    (weak,) = cells_of(strengths=(1.0,), strength_unit="one")
    assert weak.step_size == pytest.approx(0.2 * 6 / 40 / math.sqrt(5))


def test_cells_end_after_the_horizon_or_at_the_most() -> None:
    (cell,) = cells_of(horizon=3.0)
    assert cell.steps == math.ceil(3 / cell.step_size)
    assert cells_of(horizon=3.0, max_steps=50)[0].steps == 50


def test_cells_that_may_be_advanced_together_are(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    assert len(make_groups(config, cells_of(dimensions=(40, 80), scales=(0.1, 0.2), strengths=(1.0, 2.0)))) == 1
    assert len(make_groups(config, cells_of(neurons=(4, 5)))) == 2
    assert len(make_groups(config, cells_of(dimensions=(40, 80), method="plain"))) == 2


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.stem)
def test_committed_configurations_are_whole(file: Path) -> None:
    config, series = load_lab(file)
    assert config.name == file.stem and config.output == Path("runs/lora") / file.stem
    assert make_cells(series)
