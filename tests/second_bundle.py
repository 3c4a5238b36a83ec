"""A bundle beside the synthetic one that remembers the same pictures in another way."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from policy_server.runtime.bundle import DENOISER_FILE, ENCODER_FILE, load_bundle, write_manifest
from tests.synthetic_bundle import write_synthetic_bundle


def write_second_bundle(
    path: Path, *, white: float = 17.0, noise_gain: float | None = None, **settings: object
) -> Path:
    """The synthetic bundle with an encoder that divides pixels by ``white`` instead of 255, and another ``noise_gain``."""
    write_synthetic_bundle(path, **settings)  # type: ignore[arg-type]
    spec = load_bundle(path).spec
    changes = {(ENCODER_FILE, "white"): white, (DENOISER_FILE, "gain"): noise_gain}
    for (file, name), value in changes.items():
        if value is not None:
            _set_constant(path / file, name, value)
    write_manifest(path, spec, {"how": "synthetic, the second"})
    return path


def _set_constant(file: Path, name: str, value: float) -> None:
    model = onnx.load(file)
    constant = next(item for item in model.graph.initializer if item.name == name)
    constant.CopyFrom(numpy_helper.from_array(np.array(value, np.float32), name))
    onnx.save(model, file)
