"""The least time that a policy's networks can take on this machine: no faster than it reads their weights and multiplies."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policy_server.model.attention import CrossAttention
from policy_server.model.policy import DiffusionPolicy

_READ_MIB = 256
_MATRIX = 2048
_FLOAT = 4


@dataclass(frozen=True)
class MachineRates:
    """What this machine does at best: bytes read from memory per second, float32 operations per second in a product of matrices."""

    bytes_per_s: float
    flops_per_s: float


@dataclass(frozen=True)
class Work:
    """Of one layer, or of one attention: bytes that must be read, and operations."""

    bytes_read: int
    flops: int

    def least_s(self, rates: MachineRates) -> float:
        """It takes as long as the slower of the two at best."""
        return max(self.bytes_read / rates.bytes_per_s, self.flops / rates.flops_per_s)


def measure_rates(threads: int, rounds: int = 9) -> MachineRates:
    """The best of some rounds: a matrix that is far larger than any cache times a vector, and a product of square matrices."""
    torch.set_num_threads(threads)
    tall = torch.randn(_READ_MIB * 2**20 // _FLOAT // _MATRIX, _MATRIX)
    square, vector = torch.randn(_MATRIX, _MATRIX), torch.randn(_MATRIX)
    read_s = min(_seconds(lambda: torch.mv(tall, vector)) for _ in range(rounds))
    product_s = min(_seconds(lambda: torch.mm(square, square)) for _ in range(rounds))
    return MachineRates(tall.numel() * _FLOAT / read_s, 2 * _MATRIX**3 / product_s)


def sampling_bound_s(policy: DiffusionPolicy, context: Tensor, rates: MachineRates) -> float:
    """The least time of a chunk: the context's projection once, and every denoising step. Elementwise work counts nothing.

    ``context`` (1, T, D).
    """
    horizon, actions = policy.scaling.action_middle.shape
    noise = torch.zeros(1, horizon, actions)
    index = torch.zeros(1, dtype=torch.int64)
    with torch.inference_mode(), _noting(policy.denoiser) as once:
        memory = policy.project(context)
        steps = policy.denoiser.project_steps(policy.diffusion.sampling_steps)
    with torch.inference_mode(), _noting(policy.denoiser) as per_step:
        policy.denoiser(noise, [part[index] for part in steps], memory)
    count = len(policy.diffusion.sampling_steps)
    return _least_s(once, rates) + count * _least_s(per_step, rates)


def _least_s(work: Sequence[Work], rates: MachineRates) -> float:
    return sum(each.least_s(rates) for each in work)


@contextmanager
def _noting(network: nn.Module) -> Iterator[list[Work]]:
    """Within, the work of every layer that is called goes into the list."""
    work: list[Work] = []

    def note_layer(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        # Each weight is used once per position: of the output, or, in a transposed convolution, of the input.
        of = given[0] if isinstance(layer, nn.ConvTranspose1d) else output
        channels = of.shape[1] if of.dim() == 3 and not isinstance(layer, nn.Linear) else of.shape[-1]
        work.append(Work(weight.numel() * _FLOAT, 2 * weight.numel() * (of.numel() // channels)))

    def note_attention(_: nn.Module, given: tuple[Tensor, Sequence[Tensor], Sequence[Tensor]], output: Tensor) -> None:
        keys, values = given[1][:2]
        elements = keys.numel() + values.numel()
        work.append(Work(elements * _FLOAT, 2 * elements * output.shape[1]))

    handles = []
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.ConvTranspose1d):
            handles.append(module.register_forward_hook(note_layer))
        elif isinstance(module, CrossAttention):
            handles.append(module.register_forward_hook(note_attention))
    try:
        yield work
    finally:
        for handle in handles:
            handle.remove()


def _seconds(work: object) -> float:
    assert callable(work)
    begun_s = time.perf_counter()
    work()
    return time.perf_counter() - begun_s
