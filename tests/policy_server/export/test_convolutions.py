"""Convolutions that are written as products answer what they answered."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from policy_server.export.convolutions import convolutions_as_products
from policy_server.export.graphs import OPSET


def traced(module: nn.Module, channels: int, length: int) -> onnx.ModelProto:
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        module.eval(),
        (torch.zeros(2, channels, length),),
        input_names=["x"],
        output_names=["y"],
        dynamic_shapes=({0: batch},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def answer(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(6, 5, 5, padding=2),
        nn.Conv1d(6, 5, 3, stride=2, padding=1),
        nn.Conv1d(6, 5, 1),
        nn.Conv1d(6, 5, 3, padding=1, bias=False),
        nn.ConvTranspose1d(6, 5, 4, stride=2, padding=1),
        nn.Sequential(nn.Conv1d(6, 4, 5, padding=2), nn.SiLU(), nn.Conv1d(4, 3, 3, padding=1)),
    ],
    ids=["kernel 5", "stride 2", "kernel 1", "no bias", "doubling", "two"],
)
def test_a_convolution_as_a_product_answers_the_same_for_any_batch(layer: nn.Module) -> None:
    model = traced(layer, 6, 8)
    x = np.random.default_rng(0).standard_normal((3, 6, 8)).astype(np.float32)
    expected = answer(model, x)
    convolutions_as_products(model.graph)
    onnx.checker.check_model(model)
    assert not {"Conv", "ConvTranspose"} & {node.op_type for node in model.graph.node}
    np.testing.assert_allclose(answer(model, x), expected, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv1d(6, 6, 3, padding=1, groups=2), nn.ConvTranspose1d(6, 6, 3, stride=2)],
    ids=["groups", "kernel 3"],
)
def test_other_convolutions_stay_as_they_are(layer: nn.Module) -> None:
    model = traced(layer, 6, 8)
    before = [node.op_type for node in model.graph.node]
    convolutions_as_products(model.graph)
    assert [node.op_type for node in model.graph.node] == before
