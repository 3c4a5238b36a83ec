"""Checkpoints of a group: arrays and a few plain values in one file, written whole or not at all, read without unpickling."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from policy_server.lora.lab.activations import Array
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.whole_file import whole_file

_FACTS = "facts"


def save(file: Path, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
    with whole_file(file) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream, allow_pickle=False, **{_FACTS: np.frombuffer(json.dumps(dict(facts)).encode(), np.uint8), **arrays}
        )


def load(file: Path) -> tuple[dict[str, Array], dict[str, Any]] | None:
    """None when there is none. Raises ConfigurationError: it is damaged."""
    if not file.exists():
        return None
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        return arrays, json.loads(arrays.pop(_FACTS).tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigurationError(f"'{file}' cannot be read ({error}): delete it to run its group anew") from None
