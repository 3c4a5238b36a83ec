"""Typed configuration: YAML and ``key=value`` overrides into frozen dataclasses; unknown keys are refused."""

import dataclasses
import difflib
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from policy_server.runtime.errors import ConfigurationError

try:  # a dataset has thousands of small files, and the parser in C is ten times as fast
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

T = TypeVar("T")


def read_yaml(path: Path | str) -> dict[str, Any]:
    """The mapping in a YAML file; a missing, unreadable or non-mapping file raises ConfigurationError."""
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=SafeLoader)
    except FileNotFoundError:
        raise ConfigurationError(f"no file '{path}': give the path of an existing YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"'{path}' is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"'{path}' holds {type(content).__name__}, not a mapping of settings")
    return content


def apply_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """``values`` with ``key=value`` or ``section.key=value`` overrides applied; values are read as YAML."""
    result: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator:
            raise ConfigurationError(f"override '{override}' has no '=': write it as key=value")
        *sections, key = path.split(".")
        target = result
        for section in sections:
            target = target.setdefault(section, {})
        target[key] = yaml.safe_load(text)
    return result


def build(cls: type[T], values: Mapping[str, Any], source: str) -> T:
    """``values`` as an instance of the dataclass ``cls``, checked by type; nested dataclasses are built too.

    Raises:
        ConfigurationError: an unknown key (with the nearest known one) or a value of the wrong type, named with ``source``.
    """
    _refuse_unknown_keys(cls, values, source, prefix="")
    try:
        return _adapter(cls).validate_python(dict(values))  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        given = "" if first["type"] == "missing" else f" (given: {first['input']!r})"
        raise ConfigurationError(f"{source}: '{key}': {first['msg']}{given}") from None


def load(cls: type[T], path: Path | str, overrides: Iterable[str] = ()) -> T:
    """The dataclass ``cls`` from a YAML file with overrides."""
    return build(cls, apply_overrides(read_yaml(path), overrides), str(path))


def to_plain(value: Any) -> Any:
    """A dataclass (tuples, nested ones) as what YAML can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


@functools.cache
def _adapter(cls: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(cls)


def _refuse_unknown_keys(cls: Any, values: Any, source: str, prefix: str) -> None:
    if not dataclasses.is_dataclass(cls) or not isinstance(values, Mapping):
        return
    hints = get_type_hints(cls)
    for key, value in values.items():
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            mend = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(hints)}"
            raise ConfigurationError(f"{source}: unknown key '{prefix}{key}'; {mend}")
        _refuse_unknown_keys(hints[key], value, source, f"{prefix}{key}.")
        item_types = [item for item in get_args(hints[key]) if dataclasses.is_dataclass(item)]
        if item_types and isinstance(value, list | tuple):
            for item in value:
                _refuse_unknown_keys(item_types[0], item, source, f"{prefix}{key}[].")
        elif item_types and get_origin(hints[key]) is dict and isinstance(value, Mapping):
            for name, item in value.items():
                _refuse_unknown_keys(item_types[0], item, source, f"{prefix}{key}.{name}.")
