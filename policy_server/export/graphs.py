"""The two ONNX graphs of a bundle. The whole sampler is one graph: what depends on the context alone stands before the loop."""

import itertools
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from policy_server.export.adaptable import Adaptation, names_of, weight_shapes
from policy_server.export.convolutions import convolutions_as_products
from policy_server.export.holding import FREE, KEPT
from policy_server.export.joining import join
from policy_server.model.diffusion import hold
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.manifest import PolicySpec, Target

OPSET = 20  # from 21 on, GroupNormalization is expanded into small operators on the CPU


class _EncoderGraph(nn.Module):
    def __init__(self, policy: DiffusionPolicy) -> None:
        super().__init__()
        self.encoder = policy.encoder

    def forward(self, *images: Tensor) -> Tensor:
        return self.encoder(dict(zip(self.encoder.camera_names, images, strict=True)))


class _ProjectGraph(nn.Module):
    """Context, changes of some layers → what its actions are measured from, then the denoiser's memory, then what it needs to know of
    every sampling step."""

    def __init__(self, policy: DiffusionPolicy, adaptation: Adaptation, changed: Sequence[str]) -> None:
        super().__init__()
        self.policy = policy
        self.adaptation = adaptation
        self.changed = changed

    def forward(self, context: Tensor, *changes: Tensor) -> list[Tensor]:
        self.adaptation.take(self.changed, changes)
        policy = self.policy
        steps = policy.denoiser.project_steps(policy.diffusion.sampling_steps)
        return [policy.anchor(context), *policy.project(context), *steps]


class _StepGraph(nn.Module):
    """One denoising step: noisy chunks, index of the step, memory, what is known of every step, what is held, changes of some layers →
    less noisy chunks."""

    def __init__(
        self,
        policy: DiffusionPolicy,
        adaptation: Adaptation,
        changed: Sequence[str],
        memory: int,
        steps: int,
        held: int,
    ) -> None:
        """``memory``, ``steps``, ``held``: how many tensors each of these is."""
        super().__init__()
        self.policy = policy
        self.adaptation = adaptation
        self.changed = changed
        self.ends = list(itertools.accumulate((memory, steps, held)))

    def forward(self, noisy: Tensor, index: Tensor, *rest: Tensor) -> Tensor:
        of_memory, of_steps, of_held = self.ends
        self.adaptation.take(self.changed, rest[of_held:])
        step = [part[index] for part in rest[of_memory:of_steps]]
        predicted = self.policy.denoiser(noisy, step, rest[:of_memory])
        return self.policy.diffusion.update(noisy, predicted, index, *rest[of_steps:of_held])


@dataclass(frozen=True)
class DenoiserGraph:
    """The graph, and the layers that take an adapter in it: path of the module in the policy → shape of its weight."""

    model: onnx.ModelProto
    adaptable: dict[str, tuple[int, ...]]


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
    policy: DiffusionPolicy,
    spec: PolicySpec,
    *,
    adaptable: bool = True,
    inpaintable: bool = True,
    target: Target = "cpu",
) -> DenoiserGraph:
    """Denoiser graph: projection of the context and of the steps, an ONNX Loop over the denoising steps, scaling.

    One context (1, T, D) and the noise of any number N of candidates (N, H, A) → actions (N, H, A). T is free where the network
    reads any number of observations, else it is the spec's. ``adaptable``: every linear layer and Conv1d takes an adapter, see
    ``runtime/adapter_inputs.py``. ``inpaintable``: a standing plan can be held while a chunk is sampled, and sampling can start from
    it, see ``runtime/inpainting.py``. Without a plan the graph answers bit for bit what one without these inputs answers, without
    adapter to rounding. ``target``: a graph for ``gpu`` has no loop, convolutions as they are, and takes no adapters.
    """
    adaptable = adaptable and target == "cpu"
    context = torch.zeros(1, 5 if policy.denoiser.any_length else spec.history.length, spec.row_width)
    length = {1: torch.export.Dim("length", min=2)} if policy.denoiser.any_length else None
    noise = torch.zeros(3, spec.action.horizon, len(spec.action.joints))
    index = torch.zeros(1, dtype=torch.int64)
    adaptation = Adaptation(policy)
    with torch.no_grad(), adaptation.hooked():
        with adaptation.noting_use() as in_projection:
            memory = policy.project(context)
            steps = policy.denoiser.project_steps(policy.diffusion.sampling_steps)
        with adaptation.noting_use() as in_step:
            policy.denoiser(noise, [part[index] for part in steps], memory)
        if not adaptable:
            in_projection, in_step = [], []
        names = [f"memory_{i}" for i in range(len(memory))] + [f"step_{i}" for i in range(len(steps))]
        # Of one plan for all candidates, so that the trace broadcasts it.
        held = dict(zip((KEPT, FREE), hold(noise[:1], noise[0, :, 0]), strict=True)) if inpaintable else {}
        project = _export(
            _ProjectGraph(policy, adaptation, in_projection),
            (context, *adaptation.examples(in_projection)),
            ["context", *names_of(in_projection)],
            ["anchor", *names],
            (length, tuple({} for _ in names_of(in_projection))) if in_projection else (length,),
        )
        # A step reads the memory by products and sums alone, so it need not be traced for any length, nor the changes for any
        # rank; tests hold this.
        read = [*names, *held, *names_of(in_step)]
        step = _export(
            _StepGraph(policy, adaptation, in_step, len(memory), len(steps), len(held)),
            (noise, index, *memory, *steps, *held.values(), *adaptation.examples(in_step)),
            ["noisy", "index", *read],
            ["next"],
            ({0: torch.export.Dim("candidates")}, None, tuple({} for _ in read)),
        )
    if target == "cpu":
        convolutions_as_products(step.graph)
    shapes = weight_shapes(policy, list(dict.fromkeys([*in_projection, *in_step])))
    model = join(
        project,
        step,
        context_shape=[1, "length" if length else spec.history.length, spec.row_width],
        chunk_shape=["candidates", *noise.shape[1:]],
        sampling_alphas=policy.diffusion.sampling_alphas.numpy(),
        half_range=policy.scaling.action_half_range.numpy(),
        middle=policy.scaling.action_middle.numpy(),
        adaptable=shapes,
        inpaintable=inpaintable,
        unrolled=target == "gpu",
    )
    return DenoiserGraph(model, shapes)


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
