"""One denoiser graph out of two traced ones: the projection of the context, a Loop over the denoising steps, the scaling.

A graph that takes adapters holds both in two forms, of the base policy and with the changes of an adapter, which share the weights. The
base policy then costs what it costs in a graph without adapters. The projections stand in the branches of an If. The loops
stand one after the other, and one of them has no iterations: within an If, or with weights two graphs further out, ONNX Runtime no longer
fuses and packs their operators (docs/adr/0014-adapters-in-a-second-loop.md).

A graph for a GPU has the steps one after the other instead of a loop, which a CUDA graph cannot capture, and takes no adapters.

A graph that continues a standing plan has the nodes of ``holding.py`` between the projection and the loop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from policy_server.export.adaptable import names_of, without_changes
from policy_server.export.holding import (
    FREE,
    KEPT,
    START,
    STEPS_LEFT,
    holding_constants,
    holding_defaults,
    holding_inputs,
    holding_nodes,
)
from policy_server.runtime.adapter_inputs import ADAPTED_INPUT, DEFAULT_RANK, graph_inputs
from policy_server.runtime.inpainting import FIRST_STEP_INPUT

Shape = Sequence[int | str]


@dataclass(frozen=True)
class _Walk:
    """What the loops walk: names of the chunks they begin with and of the number of steps, shape of the chunks, and the name of the first
    step's index, where it is not always 0."""

    start: str
    steps: str
    chunk_shape: Shape
    first_step: str = ""


def join(
    project: onnx.ModelProto,
    step: onnx.ModelProto,
    *,
    context_shape: Shape,
    chunk_shape: Shape,
    sampling_alphas: NDArray[np.float32],
    half_range: NDArray[np.float32],
    middle: NDArray[np.float32],
    adaptable: Mapping[str, tuple[int, ...]],
    inpaintable: bool,
    unrolled: bool = False,
) -> onnx.ModelProto:
    """The denoiser graph. ``project``: context → anchor, memory; ``step``: noisy, index, memory → next. ``sampling_alphas``, float32
    (steps,): of the steps that are walked. ``adaptable`` names the layers with whose changes both were traced, path → shape of the weight.
    ``inpaintable``: the step was traced with what is held. ``unrolled``: without a loop; nothing is adaptable then. Both are changed."""
    changes = set(names_of(list(adaptable)))
    shared = {item.name for item in project.graph.output} | changes | ({KEPT, FREE} if inpaintable else set())
    _prefix_names(project.graph, "project/", keep={"context"} | shared)
    _prefix_names(step.graph, "step/", keep={"noisy", "index", "next"} | shared)
    walk = _Walk("noise", "steps", chunk_shape)
    held_inputs: list[onnx.ValueInfoProto] = []
    constants: dict[str, NDArray[np.generic]] = {"half_range": half_range, "middle": middle}
    if inpaintable:
        walk = _Walk(START, STEPS_LEFT, chunk_shape, FIRST_STEP_INPUT)
        chunk = tuple(int(size) for size in chunk_shape[1:])
        held_inputs = holding_inputs(chunk)
        constants |= holding_constants(sampling_alphas) | holding_defaults(chunk)
    if unrolled:
        constants |= {_index(number): np.array([number]) for number in range(len(sampling_alphas))}
        sampler = [
            *project.graph.node,
            *(node for node in _preparation(walk) if STEPS_LEFT not in node.output),
            *_steps_in_a_row(step.graph, walk, len(sampling_alphas)),
        ]
    else:
        constants |= _loop_constants(len(sampling_alphas))
        make = _adaptable_sampler if adaptable else _plain_sampler
        sampler = make(project.graph, step.graph, walk)
    defaults = {name: np.zeros(shape, np.float32) for name, shape in graph_inputs(adaptable, DEFAULT_RANK).items()}
    graph = helper.make_graph(
        [
            *sampler,
            helper.make_node("Mul", ["scaled", "half_range"], ["ranged"]),
            helper.make_node("Add", ["ranged", "middle"], ["from_anchor"]),
            helper.make_node("Add", ["from_anchor", "anchor"], ["actions"]),
        ],
        "denoiser",
        [_floats("context", context_shape), _floats("noise", chunk_shape), *held_inputs, *_inputs_of(adaptable)],
        [_floats("actions", chunk_shape)],
        [
            *project.graph.initializer,
            *step.graph.initializer,
            *(numpy_helper.from_array(value, name) for name, value in (constants | defaults).items()),
        ],
    )
    opset = project.opset_import[0].version
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=project.ir_version)
    onnx.checker.check_model(model)
    return model


def _loop_constants(steps: int) -> dict[str, NDArray[np.generic]]:
    return {"steps": np.array(steps, np.int64), "go_on": np.array(True), "one_element": np.array([1], np.int64)}


def _plain_sampler(project: onnx.GraphProto, step: onnx.GraphProto, walk: _Walk) -> list[onnx.NodeProto]:
    """Nodes from context and noise to ``anchor`` and ``scaled``."""
    return [*project.node, *_preparation(walk), _loop(walk.steps, walk.start, "scaled", step, walk)]


def _adaptable_sampler(project: onnx.GraphProto, step: onnx.GraphProto, walk: _Walk) -> list[onnx.NodeProto]:
    """The same, with an adapter's changes where there is one."""
    paths = _changed_paths(project), _changed_paths(step)
    base_project, base_step = (without_changes(graph, own) for graph, own in zip((project, step), paths, strict=True))
    made = {name for node in project.node for name in node.output}
    # Not a constant, such as the anchor of absolute actions: that one is a weight of the graph outside.
    outputs = [item.name for item in project.output if item.name in made]
    return [
        helper.make_node("Cast", [ADAPTED_INPUT], ["is_adapted"], to=TensorProto.BOOL),
        helper.make_node(
            "If",
            ["is_adapted"],
            outputs,
            then_branch=_branch(project, outputs, "adapted_"),
            else_branch=_branch(base_project, outputs, "base_"),
        ),
        helper.make_node("Cast", [ADAPTED_INPUT], ["adapters"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["adapters"], ["adapter"]),
        *_preparation(walk),
        helper.make_node("Mul", [walk.steps, "adapter"], ["adapted_steps"]),
        helper.make_node("Sub", [walk.steps, "adapted_steps"], ["base_steps"]),
        _loop("base_steps", walk.start, "base_scaled", _tagged(base_step, "base_", keep={"next"}), walk),
        _loop("adapted_steps", "base_scaled", "scaled", _tagged(step, "adapted_", keep={"next"}), walk),
    ]


def _steps_in_a_row(step: onnx.GraphProto, walk: _Walk, count: int) -> list[onnx.NodeProto]:
    """All sampling steps. Those before the first step are computed too, and then not taken: a captured graph does the same every time."""
    nodes = []
    noisy = walk.start
    for number in range(count):
        tag, result = f"{number}_", "scaled" if number == count - 1 else f"{number}_result"
        copy = _tagged(step, tag, keep=set())
        given = {"noisy": noisy, "index": _index(number)}
        for node in copy.node:
            node.input[:] = [given.get(name, name) for name in node.input]
        nodes += copy.node
        if walk.first_step:
            nodes += [
                helper.make_node("Greater", [walk.first_step, _index(number)], [f"{tag}is_left_out"]),
                helper.make_node("Where", [f"{tag}is_left_out", noisy, f"{tag}next"], [result]),
            ]
        else:
            nodes.append(helper.make_node("Identity", [f"{tag}next"], [result]))
        noisy = result
    return nodes


def _index(number: int) -> str:
    return f"index_{number}"


def _preparation(walk: _Walk) -> list[onnx.NodeProto]:
    """What stands between projection and loop."""
    return holding_nodes() if walk.first_step else []


def _changed_paths(graph: onnx.GraphProto) -> list[str]:
    """The layers whose changes a traced graph takes."""
    names = [item.name for item in graph.input]
    paths = [name.removesuffix(".down") for name in names if name.endswith(".down")]
    return [path for path in paths if set(names_of([path])) <= set(names)]


def _inputs_of(adaptable: Mapping[str, tuple[int, ...]]) -> list[onnx.ValueInfoProto]:
    """Inputs for adapters; each layer's rank has a name of its own, since one may have its default while another has not."""
    inputs = []
    for name, shape in graph_inputs(adaptable).items():
        rank = f"{name.rpartition('.')[0]}.rank"
        inputs.append(_floats(name, [size if size > 0 else rank for size in shape]))
    return inputs


def _branch(graph: onnx.GraphProto, outputs: Sequence[str], tag: str) -> onnx.GraphProto:
    """A traced graph as a branch of an If: it reads what it needs from outside."""
    tagged = _tagged(graph, tag, keep=set())
    results = [item for item in tagged.output if item.name in outputs]
    for item in results:
        item.name = tag + item.name
    return helper.make_graph(list(tagged.node), f"{tag}projection", [], results)


def _loop(steps: str, start: str, result: str, step: onnx.GraphProto, walk: _Walk) -> onnx.NodeProto:
    return helper.make_node("Loop", [steps, "go_on", start], [result], body=_loop_body(step, walk))


def _loop_body(step: onnx.GraphProto, walk: _Walk) -> onnx.GraphProto:
    """The loop's body: iteration number, whether to go on, noisy chunks → whether to go on, next chunks."""
    counted = "iteration"
    nodes = []
    if walk.first_step:
        counted = "step_number"
        nodes = [helper.make_node("Add", ["iteration", walk.first_step], [counted])]
    return helper.make_graph(
        [
            *nodes,
            helper.make_node("Reshape", [counted, "one_element"], ["index"]),
            helper.make_node("Identity", ["go_on_in"], ["go_on_out"]),
            *step.node,
        ],
        "denoising_step",
        [
            helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on_in", TensorProto.BOOL, []),
            _floats("noisy", walk.chunk_shape),
        ],
        [helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []), _floats("next", walk.chunk_shape)],
    )


def _floats(name: str, shape: Shape) -> onnx.ValueInfoProto:
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


def _tagged(graph: onnx.GraphProto, tag: str, keep: set[str]) -> onnx.GraphProto:
    """A copy whose nodes give results of other names, so that two forms of a graph stand in one; weights keep theirs."""
    copy = onnx.GraphProto()
    copy.CopyFrom(graph)
    made = {name for node in copy.node for name in node.output if name} - keep
    for node in copy.node:
        node.name = tag + node.name
        node.input[:] = [tag + name if name in made else name for name in node.input]
        node.output[:] = [tag + name if name in made else name for name in node.output]
    return copy
