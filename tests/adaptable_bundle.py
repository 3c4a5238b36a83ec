"""The synthetic bundle with a denoiser that takes adapters, and adapters for it; a graph made by hand, so quick to have."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from policy_server.runtime.adapter import Adapter, write_adapter
from policy_server.runtime.adapter_inputs import DEFAULT_RANK, graph_inputs, input_names
from policy_server.runtime.bundle import DENOISER_FILE, load_bundle, write_manifest
from tests.synthetic_bundle import write_synthetic_bundle

LAYER = "denoiser.layer"


def write_adaptable_bundle(path: Path, **settings: object) -> Path:
    """Answers as the synthetic bundle does; one layer, of weight zero, turns the newest context row into a shift of the joints, so
    that an adapter's change is what it adds."""
    write_synthetic_bundle(path, context_batch=1, **settings)  # type: ignore[arg-type]
    spec = load_bundle(path).spec
    adaptable = {LAYER: (len(spec.action.joints), spec.row_width)}
    model = onnx.load(path / DENOISER_FILE)
    graph = model.graph
    down, up = input_names(LAYER)
    graph.node[-1].output[0] = "unchanged"
    graph.node.extend(
        [
            helper.make_node("MatMul", ["row", down], ["low"]),
            helper.make_node("MatMul", ["low", up], ["change"]),
            helper.make_node("Mul", ["change", "adapted"], ["shift"]),
            helper.make_node("Add", ["unchanged", "shift"], ["actions"]),
        ]
    )
    for name, shape in graph_inputs(adaptable, DEFAULT_RANK).items():
        free = graph_inputs(adaptable)[name]
        sizes = [size if size > 0 else "rank" for size in free]
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes))
        graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), name))
    onnx.checker.check_model(model)
    onnx.save(model, path / DENOISER_FILE)
    write_manifest(path, spec, {"how": "synthetic"}, adaptable)
    return path


def shifting_adapter(bundle: Path, name: str, shift_rad: float, *, rank: int = 2) -> Adapter:
    """Shifts every target of the first joint by ``shift_rad`` times the finger's measured position in units of 0.02 m."""
    loaded = load_bundle(bundle)
    out, width = loaded.manifest.adaptable[LAYER]
    down, up = np.zeros((rank, width), np.float32), np.zeros((out, rank), np.float32)
    down[0, -1], up[0, 0] = 1 / 0.02, shift_rad / 2  # alpha / rank is 2
    return Adapter(name, loaded.hash, rank, 2.0 * rank, {LAYER: (down, up)}, {"how": "by hand"})


def write_shifting_adapter(bundle: Path, name: str, shift_rad: float) -> Path:
    """The adapter as a file beside the bundle's folder."""
    file = bundle.parent / f"{name}.safetensors"
    write_adapter(file, shifting_adapter(bundle, name, shift_rad))
    return file


def random_adapter(
    name: str,
    base_hash: str,
    weights: Mapping[str, tuple[int, ...]],
    *,
    rank: int = 3,
    size: float = 0.1,
    seed: int = 0,
) -> Adapter:
    """Changes of about ``size`` in the unit of a layer's output for inputs of unit size; ``weights``: path → weight's shape."""
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> NDArray[np.float32]:
        return generator.standard_normal(shape).astype(np.float32)

    layers = {}
    for path, (out, *fan_in) in weights.items():
        down = normal(rank, *fan_in) / np.float32(np.sqrt(np.prod(fan_in)))
        layers[path] = (down, np.float32(size / np.sqrt(rank)) * normal(out, rank, *(1 for _ in fan_in[1:])))
    return Adapter(name, base_hash, rank, float(rank), layers)
