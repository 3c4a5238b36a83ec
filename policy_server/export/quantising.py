"""Networks with 8-bit weights, for CPUs: a chunk's network is as fast as its weights are read, and those are a quarter.

Weights of the denoiser's products are rounded per output channel; what they are multiplied with is rounded when it is there. The
encoder's convolutions need to know the range of what they read beforehand, which recorded pictures tell. Of the 8 bits that a weight takes
it uses 7, so that a bundle answers the same on every processor: those without instructions for 8-bit products add two of them
in 16 bits, and sums of full 8-bit weights would be cut off there, silently.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from policy_server.runtime.bundle import DENOISER_FILE, ENCODER_FILE, Bundle
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.preprocessing import preprocess
from policy_server.runtime.recording import list_episodes, read_episode

_EPISODES = 16
_FRAMES_EACH = 8
_MICROSOFT = "com.microsoft"
# Seven bits: processors without instructions for sums of 8-bit products add two of them in 16 bits, where 2 * 255 * 127 does not fit.
_LEVELS = 63
_LEAST_WEIGHTS = 4096  # below it a product is over before its rounding would have paid


def quantise_denoiser(model: onnx.ModelProto) -> None:
    """Put DynamicQuantizeMatMul in place of every MatMul whose weights are constant, in the graph and in those within it. What an adapter
    adds stays as it is. The model is changed."""
    inputs = {
        item.name for item in model.graph.input
    }  # those with a default are initializers too: an adapter's changes
    weights = {item.name: item for item in model.graph.initializer if len(item.dims) == 2 and item.name not in inputs}
    rounded: dict[str, NDArray[np.generic]] = {}
    for graph in _graphs(model.graph):
        for node in graph.node:
            if node.op_type == "MatMul" and node.input[1] in weights:
                _quantise(node, weights[node.input[1]], rounded)
    read = {name for graph in _graphs(model.graph) for node in graph.node for name in node.input}
    kept = [item for item in model.graph.initializer if item.name in read or item.name not in weights]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, *(numpy_helper.from_array(v, name) for name, v in rounded.items())])
    model.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))


def quantise_denoiser_of(bundle: Bundle, folder: Path) -> None:
    """Write a bundle's denoiser with 8-bit weights into ``folder``."""
    model = onnx.load(bundle.denoiser_path)
    quantise_denoiser(model)
    onnx.save(model, folder / DENOISER_FILE)


def quantise_encoder_of(bundle: Bundle, folder: Path, dataset: Path) -> None:
    """Write a bundle's encoder with 8-bit weights into ``folder``, calibrated on pictures from the whole length of some episodes.

    Raises:
        DatasetError: the dataset cannot be read; whether it fits tells ``check_dataset_fits``.
    """
    quantise_encoder(bundle.encoder_path, folder / ENCODER_FILE, _recorded_pictures(bundle.spec, dataset))


def _recorded_pictures(spec: PolicySpec, dataset: Path) -> Iterator[dict[str, NDArray[np.uint8]]]:
    for name in list_episodes(dataset)[:_EPISODES]:
        episode = read_episode(dataset, name)
        for tick in np.linspace(0, len(episode.stamps_ns) - 1, _FRAMES_EACH).astype(int):
            yield {camera.name: preprocess(episode.images[camera.name][tick], camera)[None] for camera in spec.cameras}


def quantise_encoder(source: Path, target: Path, pictures: Iterable[Mapping[str, NDArray[np.uint8]]]) -> None:
    """Write ``source`` with 8-bit convolutions and products. ``pictures``: camera → uint8 (1, height, width, 3) as the encoder takes them;
    the ranges of what each layer reads are those met while it looks at them."""
    with tempfile.TemporaryDirectory() as folder:
        shaped = Path(folder) / "shaped.onnx"
        quant_pre_process(str(source), str(shaped), skip_symbolic_shape=True)
        quantize_static(
            str(shaped),
            str(target),
            _Pictures(pictures),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,  # seven bits, as the denoiser's
        )


class _Pictures(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, pictures: Iterable[Mapping[str, NDArray[np.uint8]]]) -> None:
        self._left = iter(pictures)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        picture = next(self._left, None)
        return None if picture is None else dict(picture)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all within it: bodies of loops, branches."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _quantise(node: onnx.NodeProto, weight: onnx.TensorProto, rounded: dict[str, NDArray[np.generic]]) -> None:
    """Make a node of the other kind out of a MatMul; two that share a weight share its rounded form."""
    if np.prod(weight.dims) < _LEAST_WEIGHTS:
        return
    names = [f"{weight.name}.{part}" for part in ("rounded", "unit", "zero")]
    if names[0] not in rounded:
        values = numpy_helper.to_array(weight)
        unit = np.abs(values).max(axis=0) / _LEVELS
        unit[unit == 0] = 1.0  # a channel of zeros
        rounded[names[0]] = np.round(values / unit).astype(np.int8)
        rounded[names[1]] = unit.astype(np.float32)
        rounded[names[2]] = np.zeros(len(unit), np.int8)
    node.op_type, node.domain = "DynamicQuantizeMatMul", _MICROSOFT
    node.input[:] = [node.input[0], *names]
