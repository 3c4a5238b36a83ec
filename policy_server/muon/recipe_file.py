"""A recipe: which polar configuration each layer gets, as the YAML file that the optimizer reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from policy_server.muon.configuration import PolarConfig
from policy_server.runtime.configuration import build, read_yaml, to_plain
from policy_server.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class Recipe:
    """``layers``: parameter name or ``fnmatch`` pattern → configuration, the first that fits; any other gets ``default``.

    ``prediction``: what the recipe saves, for the reader; see ``policy_server.muon.recipe``.
    """

    default: PolarConfig = field(default_factory=PolarConfig)
    layers: Mapping[str, PolarConfig] = field(default_factory=dict)
    prediction: Mapping[str, float] = field(default_factory=dict)

    def config_for(self, name: str) -> PolarConfig:
        if name in self.layers:
            return self.layers[name]
        return next((config for pattern, config in self.layers.items() if fnmatchcase(name, pattern)), self.default)


def read_recipe(path: Path | str) -> Recipe:
    """Raises ConfigurationError: no such file, an unknown key, or a value that does not fit."""
    return recipe_from_plain(read_yaml(path), str(path))


def write_recipe(recipe: Recipe, path: Path | str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(yaml.safe_dump(recipe_to_plain(recipe), sort_keys=False, width=120), encoding="utf-8")


def recipe_to_plain(recipe: Recipe) -> dict[str, Any]:
    """As what YAML and a checkpoint can hold."""
    plain: dict[str, Any] = to_plain(recipe)
    return plain


def recipe_from_plain(values: Mapping[str, Any], source: str) -> Recipe:
    """The inverse of ``recipe_to_plain``; ``source`` is named in errors. Raises ConfigurationError."""
    unknown = set(values) - {"default", "layers", "prediction"}
    if unknown:
        raise ConfigurationError(f"{source}: unknown key '{min(unknown)}'; known keys: default, layers, prediction")
    default, layers, prediction = (
        _mapping({} if values.get(key) is None else values[key], f"{source}: {key}")
        for key in ("default", "layers", "prediction")
    )
    return Recipe(
        _config(default, f"{source}: default"),
        {_name(name, source): _config(layer, f"{source}: layers: {name}") for name, layer in layers.items()},
        dict(prediction),
    )


def _config(values: Any, where: str) -> PolarConfig:
    try:
        return build(PolarConfig, _mapping(values, where), where)
    except ConfigurationError as error:  # what the configuration itself refuses does not say where it stands
        raise ConfigurationError(str(error) if str(error).startswith(where) else f"{where}: {error}") from None


def _mapping(values: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{where}: {values!r} is not a mapping of settings: write it as key: value")
    return values


def _name(name: Any, source: str) -> str:
    if not isinstance(name, str):
        raise ConfigurationError(
            f"{source}: layers: {name!r} is no text: give a parameter's name or a pattern, in quotes"
        )
    return name
