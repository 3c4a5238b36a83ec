"""Layers that take an adapter: how they are traced with one, and how the same graph is had without.

A graph is traced once, with inputs for the low-rank change of every layer it uses; the graph of the base policy is what remains when
the changes are taken out of it again.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.adapter_inputs import input_names, input_shapes
from policy_server.runtime.errors import PolicyError

_TRACED_RANK = 3  # any; no size in the graph depends on it


class AdaptationError(PolicyError):
    """A layer's change cannot be found in the exported graph."""


class Adaptation:
    """The low-rank changes that a policy's layers add to their outputs while they are traced: path → (down, up)."""

    def __init__(self, policy: DiffusionPolicy) -> None:
        self.layers = adaptable_layers(policy)
        self.changes: dict[str, tuple[Tensor, Tensor]] = {}
        self._used: list[str] | None = None

    def take(self, paths: Sequence[str], tensors: Sequence[Tensor]) -> None:
        """Add the changes of these layers from now on; ``tensors`` are down and up of each in turn."""
        self.changes = dict(zip(paths, zip(tensors[::2], tensors[1::2], strict=True), strict=True))

    @contextmanager
    def noting_use(self) -> Iterator[list[str]]:
        """Within, the paths of layers that are called are put into the list, each once."""
        self._used = []
        yield self._used
        self._used = None

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Within, the layers add their changes."""
        handles = [
            layer.register_forward_hook(
                lambda module, given, output, path=path: self._add(path, module, given[0], output)
            )
            for path, layer in self.layers.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def examples(self, paths: Sequence[str]) -> list[Tensor]:
        """Down and up of each of these layers, for tracing."""
        shapes = [input_shapes(tuple(self.layers[path].weight.shape), _TRACED_RANK) for path in paths]
        return [torch.zeros(shape) for pair in shapes for shape in pair]

    def _add(self, path: str, layer: nn.Module, given: Tensor, output: Tensor) -> Tensor:
        if self._used is not None and path not in self._used:
            self._used.append(path)
        if path not in self.changes:
            return output
        down, up = self.changes[path]
        if isinstance(layer, nn.Conv1d):
            low = functional.conv1d(given, down, None, layer.stride, layer.padding, layer.dilation)
            return output + functional.conv1d(low, up)
        return output + given @ down @ up


def adaptable_layers(policy: DiffusionPolicy) -> dict[str, nn.Linear | nn.Conv1d]:
    """Every linear layer and every ungrouped Conv1d of the denoiser, by the path of the module in the policy.

    Those of the encoder are not among them: its embeddings are in the history, where an adapter would not reach them.
    """
    return {
        path: module
        for path, module in policy.named_modules()
        if path.startswith("denoiser.")
        and (isinstance(module, nn.Linear) or (isinstance(module, nn.Conv1d) and module.groups == 1))
    }


def weight_shapes(policy: DiffusionPolicy, paths: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """For the manifest: path → shape of the layer's weight."""
    layers = adaptable_layers(policy)
    return {path: tuple(layers[path].weight.shape) for path in paths}


def names_of(paths: Sequence[str]) -> list[str]:
    """Down and up of each layer in turn: the names of its graph inputs."""
    return [name for path in paths for name in input_names(path)]


def without_changes(graph: onnx.GraphProto, paths: Sequence[str]) -> onnx.GraphProto:
    """The graph of the base policy: ``graph``, traced with changes of the layers ``paths``, less those changes.

    Raises:
        AdaptationError: a change is not a product that one sum adds to the layer's output.
    """
    changed = {name for path in paths for name in input_names(path)}
    ups = {input_names(path)[1]: path for path in paths}
    products = {
        node.output[0]: ups[node.input[1]] for node in graph.node if len(node.input) > 1 and node.input[1] in ups
    }
    base_of: dict[str, str] = {}
    kept = []
    for node in graph.node:
        terms = [name for name in node.input if name in products]
        if not terms:
            kept.append(node)
        elif node.op_type == "Add" and len(terms) == 1:
            base_of[node.output[0]] = next(name for name in node.input if name not in products)
        else:
            raise AdaptationError(
                f"the change of layer '{products[terms[0]]}' went into a {node.op_type}, not into a sum"
            )
    missing = set(ups.values()) - set(products.values())
    if missing or base_of.keys() & {item.name for item in graph.output}:
        raise AdaptationError(
            f"the changes of layers {sorted(missing) or 'at the output'} are not in the exported graph as traced"
        )
    base = onnx.GraphProto()
    base.CopyFrom(graph)
    del base.node[:], base.input[:]
    base.node.extend(_needed(_renamed(kept, base_of), [item.name for item in graph.output]))
    base.input.extend(item for item in graph.input if item.name not in changed)
    return base


def _renamed(nodes: Sequence[onnx.NodeProto], base_of: Mapping[str, str]) -> list[onnx.NodeProto]:
    """Copies of the nodes that read the layer's own output where they read the changed one."""
    copies = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for i, name in enumerate(copy.input):
            while name in base_of:
                name = base_of[name]
            copy.input[i] = name
        copies.append(copy)
    return copies


def _needed(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """Those of the nodes, in their order, on which the outputs depend."""
    needed = set(outputs)
    kept: deque[onnx.NodeProto] = deque()
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.appendleft(node)
            needed |= set(node.input)
    return list(kept)
