import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_server.lora.targets import choose_layers
from policy_server.lora.weights import InterpolationError, interpolated, merge_adapter, unmerge_adapter
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.adapter import Adapter, AdapterError
from tests.small_networks import network_config, network_spec, random_context, random_noise, random_policy

SPEC = network_spec(sampling_steps=2)


def plain_policy(seed: int = 0) -> DiffusionPolicy:
    return random_policy(SPEC, network_config("unet_attention"), seed=seed)


def random_adapter(policy: DiffusionPolicy, rank: int = 2, alpha: float = 3.0, **changes: object) -> Adapter:
    generator = np.random.default_rng(0)
    layers = {}
    for layer in choose_layers(policy, ["attention", "conv"]):
        outputs, *rest = layer.shape
        down = generator.standard_normal((rank, *rest)).astype(np.float32)
        up = generator.standard_normal((outputs, rank, *(1 for _ in rest[1:]))).astype(np.float32)
        layers[layer.path] = (0.2 * down, 0.2 * up)
    values: dict[str, object] = {"name": "a", "base_hash": "0" * 64, "rank": rank, "alpha": alpha, "layers": layers}
    return Adapter(**(values | changes))  # type: ignore[arg-type]


def weights(policy: DiffusionPolicy) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in policy.state_dict().items()}


def test_unmerging_brings_the_weights_back() -> None:
    policy = plain_policy()
    adapter, before = random_adapter(policy), weights(policy)
    merge_adapter(policy, adapter)
    merged = weights(policy)
    changed = {name for name in before if not torch.equal(merged[name], before[name])}
    assert changed == {f"{path}.weight" for path in adapter.layers}
    unmerge_adapter(policy, adapter)
    for name, value in weights(policy).items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-6)
        if name not in changed:
            assert torch.equal(value, before[name])


def test_half_an_adapter_is_halfway_between_the_base_and_the_merged_policy() -> None:
    base, merged, half = plain_policy(), plain_policy(), plain_policy()
    adapter = random_adapter(base)
    merge_adapter(merged, adapter)
    merge_adapter(half, adapter, 0.5)
    between = interpolated(weights(base), weights(merged), 0.5)
    for name, value in weights(half).items():
        torch.testing.assert_close(value, between[name], rtol=0, atol=1e-6)


def test_an_adapter_for_other_layers_is_refused_and_changes_nothing() -> None:
    policy = plain_policy()
    adapter, before = random_adapter(policy), weights(policy)
    pair = next(iter(adapter.layers.values()))
    with pytest.raises(AdapterError, match=r"'denoiser\.nothing'.*no such layer"):
        merge_adapter(policy, random_adapter(policy, layers={**adapter.layers, "denoiser.nothing": pair}))
    with pytest.raises(AdapterError, match=r"'denoiser\.tokens\.linear'.*has one of \(16, 11\)"):
        merge_adapter(policy, random_adapter(policy, layers={**adapter.layers, "denoiser.tokens.linear": pair}))
    for name, value in weights(policy).items():
        assert torch.equal(value, before[name])


@settings(max_examples=8, deadline=None)
@given(share=st.floats(0, 1), other=st.floats(0, 1))
def test_interpolated_weights_lie_on_the_line_between_the_two(share: float, other: float) -> None:
    base = {"w": torch.tensor([0.0, 1.0, -2.0]), "scaling.state_mean": torch.ones(2)}
    tuned = {"w": torch.tensor([1.0, 3.0, 2.0]), "scaling.state_mean": torch.ones(2)}
    at, there = interpolated(base, tuned, share)["w"], interpolated(base, tuned, other)["w"]
    torch.testing.assert_close(at - there, (share - other) * (tuned["w"] - base["w"]), rtol=0, atol=1e-5)
    assert torch.equal(interpolated(base, tuned, 0.0)["w"], base["w"])
    assert torch.equal(interpolated(base, tuned, 1.0)["w"], tuned["w"])


def test_interpolation_refuses_what_is_not_of_one_line() -> None:
    base, tuned = weights(plain_policy()), weights(plain_policy(seed=1))
    with pytest.raises(InterpolationError, match=r"scaling\.state_mean"):
        interpolated(base, tuned, 0.5)
    with pytest.raises(InterpolationError, match=r"share 1\.5"):
        interpolated(base, base, 1.5)
    narrow = {**base, "denoiser.tokens.linear.bias": torch.zeros(3)}
    with pytest.raises(InterpolationError, match=r"denoiser\.tokens\.linear\.bias"):
        interpolated(base, narrow, 0.5)


def test_the_merged_policy_moves_otherwise() -> None:
    policy = plain_policy()
    context, noise = random_context(SPEC), random_noise(SPEC)
    before = policy.sample(context, noise)
    merge_adapter(policy, random_adapter(policy))
    assert not torch.allclose(policy.sample(context, noise), before, atol=1e-3)
