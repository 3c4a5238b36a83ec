"""The two ONNX graphs of a bundle. The whole sampler is one graph: what depends on the context alone stands before the loop."""

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
from policy_server.export.joining import join
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
    """Context, changes of some layers → what its actions are measured from, then the denoiser's memory."""

    def __init__(self, policy: DiffusionPolicy, adaptation: Adaptation, changed: Sequence[str]) -> None:
        super().__init__()
        self.policy = policy
        self.adaptation = adaptation
        self.changed = changed

    def forward(self, context: Tensor, *changes: Tensor) -> list[Tensor]:
        self.adaptation.take(self.changed, changes)
        return [self.policy.anchor(context), *self.policy.project(context)]


class _StepGraph(nn.Module):
    """One denoising step: noisy chunks, index of the step, memory, changes of some layers → less noisy chunks."""

    def __init__(self, policy: DiffusionPolicy, adaptation: Adaptation, changed: Sequence[str]) -> None:
        super().__init__()
        self.policy = policy
        self.adaptation = adaptation
        self.changed = changed

    def forward(self, noisy: Tensor, index: Tensor, *memory_and_changes: Tensor) -> Tensor:
        parts = len(memory_and_changes) - 2 * len(self.changed)
        memory, changes = memory_and_changes[:parts], memory_and_changes[parts:]
        self.adaptation.take(self.changed, changes)
        diffusion = self.policy.diffusion
        predicted = self.policy.predict(noisy, diffusion.sampling_steps[index], memory)
        return diffusion.update(noisy, predicted, index)


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


def export_denoiser(policy: DiffusionPolicy, spec: PolicySpec, *, adaptable: bool = True) -> DenoiserGraph:
    """Denoiser graph: projection of the context, an ONNX Loop over the denoising steps, scaling.

    One context (1, T, D) and the noise of any number N of candidates (N, H, A) → actions (N, H, A). T is free where the network
    reads any number of observations, else it is the spec's. ``adaptable``: every linear layer and Conv1d takes an adapter, see
    ``runtime/adapter_inputs.py``.
    """
    context = torch.zeros(1, 5 if policy.denoiser.any_length else spec.history.length, spec.row_width)
    length = {1: torch.export.Dim("length", min=2)} if policy.denoiser.any_length else None
    noise = torch.zeros(3, spec.action.horizon, len(spec.action.joints))
    index = torch.zeros(1, dtype=torch.int64)
    adaptation = Adaptation(policy)
    with torch.no_grad(), adaptation.hooked():
        with adaptation.noting_use() as in_projection:
            memory = policy.project(context)
        with adaptation.noting_use() as in_step:
            policy.predict(noise, policy.diffusion.sampling_steps[index], memory)
        if not adaptable:
            in_projection, in_step = [], []
        names = [f"memory_{i}" for i in range(len(memory))]
        project = _export(
            _ProjectGraph(policy, adaptation, in_projection),
            (context, *adaptation.examples(in_projection)),
            ["context", *names_of(in_projection)],
            ["anchor", *names],
            (length, tuple({} for _ in names_of(in_projection))) if in_projection else (length,),
        )
        # A step reads the memory by products and sums alone, so it need not be traced for any length, nor the changes for any
        # rank; tests hold this.
        step = _export(
            _StepGraph(policy, adaptation, in_step),
            (noise, index, *memory, *adaptation.examples(in_step)),
            ["noisy", "index", *names, *names_of(in_step)],
            ["next"],
            ({0: torch.export.Dim("candidates")}, None, tuple({} for _ in [*names, *names_of(in_step)])),
        )
    shapes = weight_shapes(policy, list(dict.fromkeys([*in_projection, *in_step])))
    model = join(
        project,
        step,
        context_shape=[1, "length" if length else spec.history.length, spec.row_width],
        chunk_shape=["candidates", *noise.shape[1:]],
        sampling_steps=len(policy.diffusion.sampling_steps),
        half_range=policy.scaling.action_half_range.numpy(),
        middle=policy.scaling.action_middle.numpy(),
        adaptable=shapes,
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
