"""The bound that a tick's time is compared with counts what the networks read and multiply."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from policy_server.model.policy import DiffusionPolicy
from tests.small_networks import network_config, network_spec, random_context, random_policy

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("bounds")


def bound_s(bounds: ModuleType, bytes_per_s: float, flops_per_s: float, steps: int = 4, length: int = 4) -> float:
    spec = network_spec(context_length=length, sampling_steps=steps)
    policy: DiffusionPolicy = random_policy(spec, network_config("unet_attention"))
    rates = bounds.MachineRates(bytes_per_s, flops_per_s)
    return float(bounds.sampling_bound_s(policy, random_context(spec), rates))


def test_with_free_products_it_is_the_time_to_read_all_that_a_step_reads(bounds: ModuleType) -> None:
    spec = network_spec()
    denoiser = random_policy(spec, network_config("unet_attention")).denoiser
    # A step reads every matrix but those of the projections, which are read once.
    steps = [bound_s(bounds, 1.0, float("inf"), steps) for steps in (2, 3)]
    projected = {id(c.attention.key_value.weight) for c in denoiser.unet.conditions()}
    projected |= {id(layer.weight) for layer in (denoiser.tokens.linear, denoiser.step.mlp[0], denoiser.step.mlp[2])}
    matrices = [p for p in denoiser.parameters() if p.dim() > 1 and id(p) not in projected]
    keys_and_values = sum(2 * spec.history.length * width for width in (16, 16, 32, 32, 32, 32, 16, 16))
    assert steps[1] - steps[0] == 4 * (sum(p.numel() for p in matrices) + keys_and_values)


def test_twice_as_fast_a_machine_has_half_the_bound(bounds: ModuleType) -> None:
    assert bound_s(bounds, 2e9, 4e9) == pytest.approx(bound_s(bounds, 1e9, 2e9) / 2)


def test_a_longer_context_costs_more(bounds: ModuleType) -> None:
    assert bound_s(bounds, 1e9, 1e9, length=64) > bound_s(bounds, 1e9, 1e9, length=4)


def test_operations_are_two_per_weight_and_position(bounds: ModuleType) -> None:
    layer = torch.nn.Conv1d(3, 5, 3, padding=1)
    with bounds._noting(layer) as work:
        layer(torch.zeros(1, 3, 8))
    assert [(each.bytes_read, each.flops) for each in work] == [(4 * 45, 2 * 45 * 8)]
