"""Networks with 16-bit weights and arithmetic, for GPUs.

What stands around the denoiser's network stays float32: the scaling of actions, what they are measured from, and what is held of a
standing plan. Joint targets of 2 to 4 rad in float16 would lie on a grid of 2 mrad.
"""

from pathlib import Path

import onnx
from onnx import TensorProto
from onnxruntime.transformers.float16 import convert_float_to_float16

from policy_server.runtime.bundle import DENOISER_FILE, ENCODER_FILE, Bundle

_ANCHOR = "anchor"


def halve_networks_of(bundle: Bundle, folder: Path) -> None:
    """Write a bundle's networks with float16 inside into ``folder``; what goes in and comes out stays as it is."""
    if bundle.spec.cameras:
        encoder = convert_float_to_float16(onnx.load(bundle.encoder_path), keep_io_types=True)
        onnx.save(encoder, folder / ENCODER_FILE)
    onnx.save(halve_denoiser(onnx.load(bundle.denoiser_path)), folder / DENOISER_FILE)


def halve_denoiser(model: onnx.ModelProto) -> onnx.ModelProto:
    """The denoiser with its traced networks in float16; the nodes that join them stay float32. ``model`` is changed."""
    kept = _name_joining_nodes(model.graph) + _nodes_towards(_ANCHOR, model.graph)
    halved: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, node_block_list=kept)
    _cast_once(halved.graph)
    _drop_detours(halved.graph)
    _drop_unread_and_sort(halved.graph)
    return halved


def _name_joining_nodes(graph: onnx.GraphProto) -> list[str]:
    """Names for the nodes that have none: those that were not traced, see ``joining.py`` and ``holding.py``."""
    unnamed = [node for node in graph.node if not node.name]
    for number, node in enumerate(unnamed):
        node.name = f"joining/{number}"
    return [node.name for node in unnamed]


def _nodes_towards(value: str, graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes by which a value is made."""
    makers = {name: node for node in graph.node for name in node.output}
    names, left = [], [value]
    while left:
        node = makers.get(left.pop())
        if node is not None and node.name not in names:
            names.append(node.name)
            left.extend(node.input)
    return names


def _cast_once(graph: onnx.GraphProto) -> None:
    """The converter makes a cast anew for every node that reads it, under the same name."""
    nodes = {node.output[0]: node for node in reversed(graph.node)}
    kept = list(reversed(nodes.values()))
    del graph.node[:]
    graph.node.extend(kept)


def _drop_detours(graph: onnx.GraphProto) -> None:
    """Between two nodes that stay float32 the converter casts to float16 and back: read what stood before."""
    narrowed = {node.output[0]: node.input[0] for node in graph.node if _is_made_cast(node, TensorProto.FLOAT16)}
    for node in graph.node:
        if _is_made_cast(node, TensorProto.FLOAT) and node.input[0] in narrowed:
            node.op_type = "Identity"
            node.input[0] = narrowed[node.input[0]]
            del node.attribute[:]


def _is_made_cast(node: onnx.NodeProto, to: int) -> bool:
    """A cast of the converter's own; traced ones may be from whole numbers."""
    made = "graph_input_cast", "graph_output_cast"
    is_own = node.name.startswith(made) or node.name.endswith(("_cast_to_fp16_node", "_cast_to_fp32_node"))
    return node.op_type == "Cast" and is_own and node.attribute[0].i == to


def _drop_unread_and_sort(graph: onnx.GraphProto) -> None:
    """Only nodes whose results are read, each after those that it reads from; the converter puts its casts last."""
    makers = {name: node for node in graph.node for name in node.output}
    done: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    left = [(item.name, False) for item in graph.output]
    while left:
        name, inputs_done = left.pop()
        if name in done or name not in makers:
            continue
        if inputs_done:
            nodes.append(makers[name])
            done.update(makers[name].output)
        else:
            left += [(name, True), *((other, False) for other in makers[name].input)]
    del graph.node[:]
    graph.node.extend(nodes)
