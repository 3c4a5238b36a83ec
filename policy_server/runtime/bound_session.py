"""A session that runs on buffers of its own, which stay where they are: what a captured CUDA graph needs, and no allocation per call."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from policy_server.runtime.session import gpu_lock

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Buffers:
    """On the session's device, for inputs of one set of shapes."""

    inputs: dict[str, ort.OrtValue]
    output: ort.OrtValue
    binding: ort.IOBinding
    options: ort.RunOptions


class BoundSession:
    """Runs ``session``, which has one output, float32. Inputs of new shapes get buffers, and a captured graph, of their own."""

    def __init__(self, session: ort.InferenceSession, provider: str) -> None:
        """``provider``: the one that the session runs on."""
        self._session = session
        self._device = "cpu" if provider == "cpu" else "cuda"
        self._output = session.get_outputs()[0].name
        # ONNX Runtime keeps captured graphs and handles per thread: this session's live in one thread, whoever asks.
        self._thread = ThreadPoolExecutor(1, "gpu") if self._device == "cuda" else None
        self._buffers: dict[tuple[Shape, ...], _Buffers] = {}

    def run(self, inputs: Mapping[str, NDArray[np.generic]], output_shape: Shape) -> NDArray[np.float32]:
        """The output for these inputs, a copy. Give the same inputs in the same order in every call."""
        if self._thread is None:
            return self._run(inputs, output_shape)
        return self._thread.submit(self._run_on_gpu, inputs, output_shape).result()

    def _run_on_gpu(self, inputs: Mapping[str, NDArray[np.generic]], output_shape: Shape) -> NDArray[np.float32]:
        with gpu_lock:
            return self._run(inputs, output_shape)

    def _run(self, inputs: Mapping[str, NDArray[np.generic]], output_shape: Shape) -> NDArray[np.float32]:
        shapes = tuple(value.shape for value in inputs.values())
        if shapes not in self._buffers:
            self._buffers[shapes] = self._bind(inputs, output_shape)
        buffers = self._buffers[shapes]
        for name, value in inputs.items():
            buffers.inputs[name].update_inplace(np.ascontiguousarray(value))
        self._session.run_with_iobinding(buffers.binding, buffers.options)
        # On a CPU numpy() is a view of the buffer.
        return np.array(buffers.output.numpy())

    def _bind(self, inputs: Mapping[str, NDArray[np.generic]], output_shape: Shape) -> _Buffers:
        values = {
            name: ort.OrtValue.ortvalue_from_numpy(np.array(value), self._device, 0) for name, value in inputs.items()
        }
        output = ort.OrtValue.ortvalue_from_shape_and_type(list(output_shape), np.float32, self._device, 0)
        binding = self._session.io_binding()
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_output(self._output, output)
        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(len(self._buffers) + 1))
        return _Buffers(values, output, binding, options)
