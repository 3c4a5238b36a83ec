import onnx
import pytest
from onnx import TensorProto, helper

from policy_server.export.adaptable import AdaptationError, without_changes


def graph(*nodes: tuple[str, list[str], str], inputs: tuple[str, ...] = ("x", "a.down", "a.up")) -> onnx.GraphProto:
    """Nodes as (operator, inputs, output); the last one's output is the graph's."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs]
    made = [helper.make_node(operator, given, [output], name=output) for operator, given, output in nodes]
    result = helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, None)
    return helper.make_graph(made, "traced", values, [result])


LAYER = (
    ("MatMul", ["x", "weight"], "own"),
    ("MatMul", ["x", "a.down"], "low"),
    ("MatMul", ["low", "a.up"], "change"),
    ("Add", ["own", "change"], "changed"),
)


def test_the_base_graph_is_the_traced_one_without_the_changes() -> None:
    base = without_changes(graph(*LAYER, ("Relu", ["changed"], "y")), ["a"])
    assert [(node.op_type, list(node.input), list(node.output)) for node in base.node] == [
        ("MatMul", ["x", "weight"], ["own"]),
        ("Relu", ["own"], ["y"]),
    ]
    assert [item.name for item in base.input] == ["x"]


def test_a_layer_that_is_called_twice_loses_both_changes() -> None:
    second = tuple(
        (operator, [f"{n}2" if n in ("low", "own", "change") else n for n in given], f"{output}2")
        for operator, given, output in LAYER
    )
    traced = graph(*LAYER, *second, ("Mul", ["changed", "changed2"], "y"))
    assert [node.name for node in without_changes(traced, ["a"]).node] == ["own", "own2", "y"]


def test_the_traced_graph_stays_as_it_is() -> None:
    traced = graph(*LAYER, ("Relu", ["changed"], "y"))
    before = traced.SerializeToString()
    without_changes(traced, ["a"])
    assert traced.SerializeToString() == before


@pytest.mark.parametrize(
    ("traced", "complaint"),
    [
        (graph(*LAYER[:3], ("Mul", ["own", "change"], "y")), "layer 'a' went into a Mul"),
        (graph(LAYER[0], ("Relu", ["own"], "y")), r"\['a'\] are not in the exported graph"),
        (graph(*LAYER), "not in the exported graph as traced"),
    ],
    ids=["product", "no change", "at the output"],
)
def test_a_change_that_cannot_be_taken_out_again_is_an_error(traced: onnx.GraphProto, complaint: str) -> None:
    with pytest.raises(AdaptationError, match=complaint):
        without_changes(traced, ["a"])
