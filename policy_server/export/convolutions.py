"""Convolutions over the chunk, written as products of matrices.

A chunk has few steps and its network many channels, so what a Conv1d costs on a CPU is to read its weights. ONNX Runtime's convolution
takes them as they are, step by step; a product takes them packed and reads them once, in about half of the time.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Shape = tuple[int | str, ...]
Constants = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class _Product:
    """A convolution as a product: ``count`` windows of ``width`` steps, ``stride`` apart, over a sequence padded with zeros, times
    ``matrix`` (width * channels in, channels out). A window makes ``makes`` steps of the output."""

    matrix: NDArray[np.float32]
    count: int
    width: int
    stride: int
    pads: tuple[int, int]
    makes: int = 1


def convolutions_as_products(graph: onnx.GraphProto) -> None:
    """Rewrite, in a traced graph, every ungrouped Conv1d with weights of its own as Transpose → Pad → Gather → Reshape → MatMul → Add →
    Transpose, and every transposed one that doubles the length with kernel 4. Those whose weights are inputs, such as an
    adapter's, stay. The graph is changed."""
    weights = {item.name: item for item in graph.initializer if len(item.dims) == 3}
    shapes = {item.name: _shape(item) for item in (*graph.value_info, *graph.input, *graph.output)}
    constants: Constants = {}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        as_product = _rewriting_of(node)
        if as_product is None or node.input[1] not in weights:
            nodes.append(node)
            continue
        weight = numpy_helper.to_array(weights[node.input[1]])
        product = as_product(weight, _attributes(node), _length(shapes, node.output[0]))
        nodes += _named(_nodes_of(node, product, constants))
    read = {name for node in nodes for name in node.input}
    kept = [item for item in graph.initializer if item.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *(numpy_helper.from_array(value, name) for name, value in constants.items())])


def _rewriting_of(
    node: onnx.NodeProto,
) -> Callable[[NDArray[np.float32], Mapping[str, list[int]], int], _Product] | None:
    """What makes a product of this node, given its weights, attributes and the length of its output; None for one that stays."""
    attributes = _attributes(node)
    if attributes.get("group", 1) != 1 or list(attributes.get("dilations", [1])) != [1]:
        return None
    if node.op_type == "Conv":
        return _convolution
    doubles = [attributes.get(name) for name in ("kernel_shape", "strides", "pads")] == [[4], [2], [1, 1]]
    is_plain = not any(attributes.get("output_padding", [0]))
    return _transposed_convolution if node.op_type == "ConvTranspose" and doubles and is_plain else None


def _convolution(weight: NDArray[np.float32], attributes: Mapping[str, list[int]], length: int) -> _Product:
    channels_out, channels_in, kernel = weight.shape
    (stride,), (before, after) = attributes.get("strides", [1]), attributes.get("pads", [0, 0])
    matrix = weight.transpose(2, 1, 0).reshape(kernel * channels_in, channels_out)
    return _Product(matrix, length, kernel, stride, (before, after))


def _transposed_convolution(weight: NDArray[np.float32], _: Mapping[str, list[int]], length: int) -> _Product:
    """Of kernel 4, stride 2, padding 1. Step 2m of the output is w1 x(m) + w3 x(m - 1), step 2m + 1 is w2 x(m) + w0 x(m + 1): of each
    step and its two neighbours, two steps are made."""
    channels_in, channels_out, _taps = weight.shape
    matrix = np.zeros((3, channels_in, 2, channels_out), np.float32)
    for neighbour, made, tap in ((0, 0, 3), (1, 0, 1), (1, 1, 2), (2, 1, 0)):
        matrix[neighbour, :, made] = weight[:, :, tap]
    return _Product(matrix.reshape(3 * channels_in, 2 * channels_out), length // 2, 3, 1, (1, 1), makes=2)


def _nodes_of(node: onnx.NodeProto, product: _Product, constants: Constants) -> Iterator[onnx.NodeProto]:
    """The nodes that stand for ``node``; what they read that is constant goes to ``constants``."""
    made, matrix = f"{node.output[0]}.", f"{node.input[1]}.as_matrix"
    constants[matrix] = np.ascontiguousarray(product.matrix)
    rows = made + "rows"
    yield helper.make_node("Transpose", [node.input[0]], [rows], perm=[0, 2, 1])
    if product.width > 1 or product.stride > 1:
        pads, steps, flat = _window_constants(product, constants)
        yield helper.make_node("Pad", [rows, pads], [made + "padded"])
        yield helper.make_node("Gather", [made + "padded", steps], [made + "windows"], axis=1)
        yield helper.make_node("Reshape", [made + "windows", flat], [made + "flat"])
        rows = made + "flat"
    yield helper.make_node("MatMul", [rows, matrix], [made + "product"])
    result = made + "product"
    if product.makes > 1:
        length, channels = product.makes * product.count, product.matrix.shape[1] // product.makes
        unfolded = f"unfolded_{length}_{channels}"
        constants[unfolded] = np.array([0, length, channels], np.int64)
        yield helper.make_node("Reshape", [result, unfolded], [made + "unfolded"])
        result = made + "unfolded"
    if len(node.input) > 2:
        yield helper.make_node("Add", [result, node.input[2]], [made + "sum"])
        result = made + "sum"
    yield helper.make_node("Transpose", [result], [node.output[0]], perm=[0, 2, 1])


def _window_constants(product: _Product, constants: Constants) -> tuple[str, str, str]:
    """Names of what Pad, Gather and Reshape read to lay the windows out as rows (N, count, width * channels)."""
    (before, after), inputs = product.pads, len(product.matrix)
    pads, steps = f"pads_{before}_{after}", f"steps_{product.count}_{product.width}_{product.stride}"
    flat = f"flat_{product.count}_{inputs}"
    constants[pads] = np.array([0, before, 0, 0, after, 0], np.int64)
    constants[steps] = product.stride * np.arange(product.count)[:, None] + np.arange(product.width)
    constants[flat] = np.array([0, product.count, inputs], np.int64)
    return pads, steps, flat


def _named(nodes: Iterator[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """ONNX Runtime wants a node's name to be its alone, or empty; results' names are."""
    for node in nodes:
        node.name = node.output[0]
        yield node


def _attributes(node: onnx.NodeProto) -> dict[str, list[int]]:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def _length(shapes: Mapping[str, Shape], name: str) -> int:
    length = shapes[name][-1]
    assert isinstance(length, int)  # the chunk's length is fixed, and so is that of all that is made of it
    return length


def _shape(item: onnx.ValueInfoProto) -> Shape:
    return tuple(axis.dim_param or axis.dim_value for axis in item.type.tensor_type.shape.dim)
