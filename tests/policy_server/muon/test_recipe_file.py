"""Recipes as YAML."""

from pathlib import Path

import pytest

from policy_server.muon.configuration import PolarConfig
from policy_server.muon.recipe_file import Recipe, read_recipe, write_recipe
from policy_server.runtime.errors import ConfigurationError


def test_a_recipe_is_read_as_it_was_written(tmp_path: Path) -> None:
    recipe = Recipe(
        PolarConfig("halley", 2, "gram", lower=3e-4),
        {"a.weight": PolarConfig("custom", 2, "direct", coefficients=((2.0, -1.5, 0.5), (1.5, -0.5, 0.0)))},
        {"flops_over_fixed_five": 0.3},
    )
    write_recipe(recipe, tmp_path / "below" / "recipe.yaml")
    assert read_recipe(tmp_path / "below" / "recipe.yaml") == recipe


def test_a_name_comes_before_a_pattern_and_the_first_pattern_before_the_next() -> None:
    names = ("blocks.*", "*.weight", "blocks.0.weight")
    recipe = Recipe(layers={name: PolarConfig(steps=steps) for steps, name in enumerate(names, start=1)})
    assert recipe.config_for("blocks.0.weight").steps == 3
    assert recipe.config_for("blocks.1.weight").steps == 1
    assert recipe.config_for("out.weight").steps == 2
    assert recipe.config_for("out.bias") == recipe.default


def test_sections_that_are_left_empty_are_as_those_that_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("default:\nlayers:\nprediction:\n")
    assert read_recipe(tmp_path / "recipe.yaml") == Recipe()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("layer: {}", "unknown key 'layer'"),
        ("default: {stepz: 3}", "default: unknown key 'stepz'; did you mean 'steps'"),
        ("layers: {a.weight: {method: quintic}}", "layers: a.weight: 'method'"),
        ("layers: {a.weight: {steps: 0}}", r"recipe.yaml: layers: a.weight: steps: 0"),
        ("layers: {a.weight: {lower: 2}}", r"recipe.yaml: layers: a.weight: lower: 2"),
        ("default: {lower: 2}", r"recipe.yaml: default: lower: 2"),
        ("default: halley", "default: 'halley' is not a mapping"),
        ("layers: foo", "layers: 'foo' is not a mapping"),
        ("layers: []", r"layers: \[\] is not a mapping"),
        ("layers: {a: 3}", "layers: a: 3 is not a mapping"),
        ("layers: {a: }", "layers: a: None is not a mapping"),
        ("layers: {3: {}}", "layers: 3 is no text"),
        ("prediction: foo", "prediction: 'foo' is not a mapping"),
    ],
)
def test_a_file_with_a_mistake_is_refused_by_name(tmp_path: Path, text: str, names: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=names):
        read_recipe(tmp_path / "recipe.yaml")
