"""The two ONNX graphs of a bundle. The whole sampler is one graph: what depends on the context alone stands before the loop."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.manifest import PolicySpec

OPSET = 20  # from 21 on, GroupNormalization is expanded into small operators on the CPU


class _EncoderGraph(nn.Module):
    def __init__(self, policy: DiffusionPolicy) -> None:
        super().__init__()
        self.encoder = policy.encoder

    def forward(self, *images: Tensor) -> Tensor:
        return self.encoder(dict(zip(self.encoder.camera_names, images, strict=True)))


class _ProjectGraph(nn.Module):
    """Context → what its actions are measured from, then the denoiser's memory."""

    def __init__(self, policy: DiffusionPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, context: Tensor) -> list[Tensor]:
        return [self.policy.anchor(context), *self.policy.project(context)]


class _StepGraph(nn.Module):
    """One denoising step: noisy chunks, index of the step, memory → less noisy chunks."""

    def __init__(self, policy: DiffusionPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, noisy: Tensor, index: Tensor, *memory: Tensor) -> Tensor:
        diffusion = self.policy.diffusion
        predicted = self.policy.predict(noisy, diffusion.sampling_steps[index], memory)
        return diffusion.update(noisy, predicted, index)


def export_encoder(policy: DiffusionPolicy, sizes: Sequence[tuple[int, int]]) -> onnx.ModelProto:
    """Encoder graph; ``sizes`` are (height, width) per camera. Batch is dynamic."""
    images = tuple(torch.zeros(2, height, width, 3, dtype=torch.uint8) for height, width in sizes)
    batch = torch.export.Dim("batch")
    return _export(
        _EncoderGraph(policy),
        images,
        list(policy.encoder.camera_names),
        ["embedding"],
        (tuple({0: batch} for _ in images),),
    )


def export_denoiser(policy: DiffusionPolicy, spec: PolicySpec) -> onnx.ModelProto:
    """Denoiser graph: projection of the context, an ONNX Loop over the denoising steps, scaling.

    One context (1, T, D) and the noise of any number N of candidates (N, H, A) → actions (N, H, A). T is free where the network
    reads any number of observations, else it is the spec's.
    """
    context = torch.zeros(1, 5 if policy.denoiser.any_length else spec.history.length, spec.row_width)
    length = {1: torch.export.Dim("length", min=2)} if policy.denoiser.any_length else None
    noise = torch.zeros(3, spec.action.horizon, len(spec.action.joints))
    with torch.no_grad():
        memory = policy.project(context)
    names = [f"memory_{i}" for i in range(len(memory))]
    project = _export(_ProjectGraph(policy), (context,), ["context"], ["anchor", *names], (length,))
    # A step reads the memory by products and sums alone, so it need not be traced for any length; tests hold this.
    step = _export(
        _StepGraph(policy),
        (noise, torch.zeros(1, dtype=torch.int64), *memory),
        ["noisy", "index", *names],
        ["next"],
        ({0: torch.export.Dim("candidates")}, None, tuple({} for _ in memory)),
    )
    context_shape = [1, "length" if length else spec.history.length, spec.row_width]
    return _join(project, step, policy, context_shape, ["candidates", *noise.shape[1:]])


def _export(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    input_names: list[str],
    output_names: list[str],
    shapes: tuple[Any, ...],
) -> onnx.ModelProto:
    with torch.no_grad(), _without_chatter():
        program = torch.onnx.export(
            module.eval(),
            inputs,
            input_names=input_names,
            output_names=output_names,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_origin(model.graph)
    return model


def _forget_origin(graph: onnx.GraphProto) -> None:
    """Take out where each node stood in the source: it is most of a small file, and names the folders of whoever exported it."""
    for item in (graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        item.doc_string = ""
        del item.metadata_props[:]


@contextmanager
def _without_chatter() -> Iterator[None]:
    """The exporter reports its progress through warnings that are of no use to whoever exports."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _join(
    project: onnx.ModelProto,
    step: onnx.ModelProto,
    policy: DiffusionPolicy,
    context_shape: Sequence[int | str],
    chunk_shape: Sequence[int | str],
) -> onnx.ModelProto:
    """One graph: projection, loop whose body is the step (it reads the memory from outside), then scaling."""
    shared = {item.name for item in project.graph.output}
    _prefix_names(project.graph, "project/", keep={"context"} | shared)
    _prefix_names(step.graph, "step/", keep={"noisy", "index", "next"} | shared)
    scaling = policy.scaling
    constants = {
        "steps": np.array(len(policy.diffusion.sampling_steps), np.int64),
        "go_on": np.array(True),
        "one_element": np.array([1], np.int64),
        "half_range": scaling.action_half_range.numpy(),
        "middle": scaling.action_middle.numpy(),
    }
    graph = helper.make_graph(
        [
            *project.graph.node,
            helper.make_node("Loop", ["steps", "go_on", "noise"], ["scaled"], body=_loop_body(step.graph, chunk_shape)),
            helper.make_node("Mul", ["scaled", "half_range"], ["ranged"]),
            helper.make_node("Add", ["ranged", "middle"], ["from_anchor"]),
            helper.make_node("Add", ["from_anchor", "anchor"], ["actions"]),
        ],
        "denoiser",
        [_floats("context", context_shape), _floats("noise", chunk_shape)],
        [_floats("actions", chunk_shape)],
        [
            *project.graph.initializer,
            *step.graph.initializer,
            *(numpy_helper.from_array(value, name) for name, value in constants.items()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=project.ir_version)
    onnx.checker.check_model(model)
    return model


def _loop_body(step: onnx.GraphProto, chunk_shape: Sequence[int | str]) -> onnx.GraphProto:
    """The loop's body: iteration number, whether to go on, noisy chunks → whether to go on, next chunks."""
    return helper.make_graph(
        [
            helper.make_node("Reshape", ["iteration", "one_element"], ["index"]),
            helper.make_node("Identity", ["go_on_in"], ["go_on_out"]),
            *step.node,
        ],
        "denoising_step",
        [
            helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on_in", TensorProto.BOOL, []),
            _floats("noisy", chunk_shape),
        ],
        [helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []), _floats("next", chunk_shape)],
    )


def _floats(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def _prefix_names(graph: onnx.GraphProto, prefix: str, keep: set[str]) -> None:
    def renamed(name: str) -> str:
        return name if not name or name in keep else prefix + name

    for node in graph.node:
        node.name = prefix + node.name
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    for initializer in graph.initializer:
        initializer.name = renamed(initializer.name)
