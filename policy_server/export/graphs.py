"""The two ONNX graphs of a bundle. The whole sampler is one graph: what depends on the context alone stands before the loop."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from policy_server.model.attention import KeysValues
from policy_server.model.policy import DiffusionPolicy

OPSET = 20  # from 21 on, GroupNormalization is expanded into small operators on the CPU


class _EncoderGraph(nn.Module):
    def __init__(self, policy: DiffusionPolicy) -> None:
        super().__init__()
        self.encoder = policy.encoder

    def forward(self, *images: Tensor) -> Tensor:
        return self.encoder(dict(zip(self.encoder.camera_names, images, strict=True)))


class _ProjectGraph(nn.Module):
    """Context → what its actions are measured from, then keys and values of every block, flattened to one list."""

    def __init__(self, policy: DiffusionPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, context: Tensor) -> list[Tensor]:
        keys_values = [tensor for block in self.policy.project(context) for tensor in (block.keys, block.values)]
        return [self.policy.anchor(context), *keys_values]


class _StepGraph(nn.Module):
    """One denoising step: noisy chunk, index of the step, keys and values → less noisy chunk."""

    def __init__(self, policy: DiffusionPolicy) -> None:
        super().__init__()
        self.unet, self.diffusion = policy.unet, policy.diffusion

    def forward(self, noisy: Tensor, index: Tensor, *flat: Tensor) -> Tensor:
        history = [KeysValues(keys, values) for keys, values in zip(flat[::2], flat[1::2], strict=True)]
        predicted = self.unet(noisy, self.diffusion.sampling_steps[index], history)
        return self.diffusion.update(noisy, predicted, index)


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


def export_denoiser(
    policy: DiffusionPolicy, context_length: int, row_width: int, horizon: int, actions: int
) -> onnx.ModelProto:
    """Denoiser graph: projection of the context, an ONNX Loop over the denoising steps, scaling. Batch and T are dynamic."""
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", min=2)
    context = torch.zeros(3, max(context_length, 4), row_width)
    noise = torch.zeros(3, horizon, actions)
    keys_values = [tensor.contiguous() for tensor in _ProjectGraph(policy)(context)[1:]]
    names = [f"key_value_{i}" for i in range(len(keys_values))]
    project = _export(_ProjectGraph(policy), (context,), ["context"], ["anchor", *names], ({0: batch, 1: length},))
    per_tensor = tuple({0: batch, 3 if index % 2 == 0 else 2: length} for index in range(len(keys_values)))
    step = _export(
        _StepGraph(policy),
        (noise, torch.zeros(1, dtype=torch.int64), *keys_values),
        ["noisy", "index", *names],
        ["next"],
        ({0: batch}, None, per_tensor),
    )
    return _join(project, step, policy, row_width, horizon, actions)


def _export(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    input_names: list[str],
    output_names: list[str],
    shapes: tuple[Any, ...],
) -> onnx.ModelProto:
    with torch.no_grad():
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
    return program.model_proto


def _join(
    project: onnx.ModelProto, step: onnx.ModelProto, policy: DiffusionPolicy, row_width: int, horizon: int, actions: int
) -> onnx.ModelProto:
    """One graph: projection, loop whose body is the step (it reads keys and values from outside), then scaling."""
    _prefix_names(project.graph, "project/", keep={"context"} | {item.name for item in project.graph.output})
    _prefix_names(step.graph, "step/", keep={"noisy", "index", "next"} | {item.name for item in project.graph.output})
    body = helper.make_graph(
        [
            helper.make_node("Reshape", ["iteration", "one_element"], ["index"]),
            helper.make_node("Identity", ["go_on_in"], ["go_on_out"]),
            *step.graph.node,
        ],
        "denoising_step",
        [
            helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("noisy", TensorProto.FLOAT, ["batch", horizon, actions]),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, ["batch", horizon, actions]),
        ],
    )
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
            helper.make_node("Loop", ["steps", "go_on", "noise"], ["scaled"], body=body),
            helper.make_node("Mul", ["scaled", "half_range"], ["ranged"]),
            helper.make_node("Add", ["ranged", "middle"], ["from_anchor"]),
            helper.make_node("Add", ["from_anchor", "anchor"], ["actions"]),
        ],
        "denoiser",
        [
            helper.make_tensor_value_info("context", TensorProto.FLOAT, ["batch", "length", row_width]),
            helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["batch", horizon, actions]),
        ],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, ["batch", horizon, actions])],
        [
            *project.graph.initializer,
            *step.graph.initializer,
            *(numpy_helper.from_array(value, name) for name, value in constants.items()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=project.ir_version)
    onnx.checker.check_model(model)
    return model


def _prefix_names(graph: onnx.GraphProto, prefix: str, keep: set[str]) -> None:
    def renamed(name: str) -> str:
        return name if not name or name in keep else prefix + name

    for node in graph.node:
        node.name = prefix + node.name
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    for initializer in graph.initializer:
        initializer.name = renamed(initializer.name)
