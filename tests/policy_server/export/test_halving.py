"""What stays float32 in a denoiser of float16; on a graph made by hand, which the reference evaluator computes as it is written."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from policy_server.export.halving import halve_denoiser


@pytest.fixture
def denoiser() -> onnx.ModelProto:
    """As ``join`` makes one: traced nodes have names, those that join them have none. actions = (noise + held) W range + anchor."""
    nodes = [
        helper.make_node("Gather", ["context", "newest"], ["anchor"], name="project/anchor", axis=1),
        helper.make_node("Sub", ["held", "anchor"], ["from"]),
        helper.make_node("Mul", ["from", "half_range"], ["held_scaled"]),
        helper.make_node("Add", ["noise", "held_scaled"], ["start"]),
        helper.make_node("Sub", ["start", "held_scaled"], ["noisy"]),
        helper.make_node("MatMul", ["noisy", "weight"], ["scaled"], name="step/product"),
        helper.make_node("Mul", ["scaled", "half_range"], ["ranged"]),
        helper.make_node("Add", ["ranged", "anchor"], ["actions"]),
    ]
    constants = {
        "newest": np.array(-1),
        "weight": np.eye(3, dtype=np.float32),
        "half_range": np.array([0.7, 1.3, 0.01], np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "denoiser",
        [
            helper.make_tensor_value_info("context", TensorProto.FLOAT, [1, 4, 3]),
            helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["candidates", 3]),
            helper.make_tensor_value_info("held", TensorProto.FLOAT, [1, 3]),
        ],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, ["candidates", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_only_the_network_is_rounded_and_not_what_stands_around_it(denoiser: onnx.ModelProto) -> None:
    halved = halve_denoiser(denoiser)
    onnx.checker.check_model(halved, full_check=True)
    kinds = {item.name: item.data_type for item in halved.graph.initializer}
    assert (kinds["weight"], kinds["half_range"]) == (TensorProto.FLOAT16, TensorProto.FLOAT)
    generator = np.random.default_rng(0)
    context = generator.uniform(2, 3, (1, 4, 3)).astype(np.float32)
    noise = np.array([[0.5, -0.25, 1.0]], np.float32)  # float16 has them
    # What is held cancels: rounded to float16 on the way it would leave 1 mrad.
    held = generator.uniform(2, 3, (1, 3)).astype(np.float32)
    (actions,) = ReferenceEvaluator(halved).run(None, {"context": context, "noise": noise, "held": held})
    assert actions.dtype == np.float32
    expected = noise * np.array([0.7, 1.3, 0.01], np.float32) + context[:, -1]
    np.testing.assert_allclose(actions, expected, atol=5e-4 * 1.3)
    np.testing.assert_allclose(actions[:, 2], expected[:, 2], atol=1e-5)
    assert (actions != actions.astype(np.float16)).any()


def test_no_value_between_two_nodes_of_float32_passes_float16(denoiser: onnx.ModelProto) -> None:
    nodes = halve_denoiser(denoiser).graph.node
    casts = [node for node in nodes if node.op_type == "Cast"]
    # Into the product and out of it; nothing else is cast, and what nobody reads is gone.
    assert len(casts) == 2
    assert len({name for node in nodes for name in node.output}) == len(nodes)
