import copy

import pytest
import torch

from policy_server.lora.injection import (
    adapter_tensors,
    inject_adapter,
    is_adapted,
    train_adapter_alone,
    trained_fraction,
)
from policy_server.lora.targets import choose_layers
from policy_server.lora.weights import adapter_pairs, base_state, is_of_adapter, merged_state
from policy_server.model.policy import DiffusionPolicy
from policy_server.training.configuration import LoraSettings
from tests.small_networks import (
    BACKBONES,
    network_config,
    network_spec,
    random_context,
    random_noise,
    random_policy,
)

SPEC = network_spec(sampling_steps=1)
CONTEXT, NOISE = random_context(SPEC), random_noise(SPEC)
IMAGES_SPEC = network_spec(cameras=True)


def adapted_policy(backbone: str, settings: LoraSettings, *, cameras: bool = False) -> DiffusionPolicy:
    policy = random_policy(IMAGES_SPEC if cameras else SPEC, network_config(backbone))
    torch.manual_seed(3)
    inject_adapter(policy, settings)
    return policy.eval()


def chunk(policy: DiffusionPolicy) -> torch.Tensor:
    with torch.no_grad():
        return policy.sample(CONTEXT, NOISE)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_new_adapter_changes_nothing(backbone: str) -> None:
    plain = random_policy(SPEC, network_config(backbone))
    assert torch.equal(chunk(adapted_policy(backbone, LoraSettings(2))), chunk(plain))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_adapted_layer_can_change_the_chunk(backbone: str) -> None:
    """A layer whose weight is read around its module, as by functional.linear(x, layer.weight), would not."""
    policy = adapted_policy(backbone, LoraSettings(2, 4.0, ("denoiser",)))
    before = chunk(policy)
    parameters = dict(policy.named_parameters())
    idle = []
    for path in adapter_pairs(policy.state_dict()):
        up = parameters[f"{path}.lora_B.default.weight"]
        with torch.no_grad():
            up.normal_(std=0.5)
            idle += [path] if torch.allclose(chunk(policy), before, atol=1e-6) else []
            up.zero_()
    assert idle == []
    assert torch.equal(chunk(policy), before)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_weights_with_the_adapter_merged_in_answer_what_the_adapted_policy_answers(backbone: str) -> None:
    policy = adapted_policy(backbone, LoraSettings(3, 5.0))
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if is_of_adapter(name):
                parameter.normal_(std=0.2)
    state = policy.state_dict()
    plain = random_policy(SPEC, network_config(backbone), seed=9)
    plain.load_state_dict(merged_state(base_state(state), adapter_pairs(state), 5.0 / 3))
    torch.testing.assert_close(chunk(plain), chunk(policy), rtol=0, atol=2e-5)
    assert not torch.allclose(chunk(plain), chunk(random_policy(SPEC, network_config(backbone))), atol=1e-3)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_exactly_the_chosen_layers_are_adapted_and_all_else_is_frozen(backbone: str) -> None:
    plain = random_policy(IMAGES_SPEC, network_config(backbone))
    targets = ("conditioning", "denoiser.*out*", "encoder")
    policy = adapted_policy(backbone, LoraSettings(2, 4.0, targets), cameras=True)
    assert set(adapter_pairs(policy.state_dict())) == {layer.path for layer in choose_layers(plain, targets)}
    learning = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
    assert learning == set(adapter_tensors(policy))
    assert set(base_state(policy.state_dict())) == set(plain.state_dict())


@pytest.mark.slow
def test_an_adapted_encoder_can_change_the_embedding() -> None:
    policy = adapted_policy("unet_attention", LoraSettings(2, 4.0, ("encoder",)), cameras=True)
    images = {
        camera.name: torch.randint(0, 256, (2, camera.height, camera.width, 3), dtype=torch.uint8)
        for camera in IMAGES_SPEC.cameras
    }
    before = policy.encode(images)
    idle = []
    for path in adapter_pairs(policy.state_dict()):
        other = copy.deepcopy(policy)
        with torch.no_grad():
            other.get_submodule(f"{path}.lora_B.default").get_parameter("weight").normal_()
        idle += [path] if torch.allclose(other.encode(images), before, atol=1e-6) else []
    assert idle == []


def test_the_trained_fraction_is_the_adapters_share_of_the_policy_underneath() -> None:
    plain = random_policy(SPEC, network_config("transformer"))
    assert trained_fraction(plain) == 1.0 and not is_adapted(plain)
    policy = adapted_policy("transformer", LoraSettings(2, 4.0, ("attention",)))
    expected = sum(layer.parameters(2) for layer in choose_layers(plain, ["attention"]))
    assert trained_fraction(policy) == expected / sum(parameter.numel() for parameter in plain.parameters())
    assert is_adapted(policy)


def test_freezing_comes_back_after_everything_was_freed() -> None:
    policy = adapted_policy("transformer", LoraSettings(1))
    policy.requires_grad_(True)
    train_adapter_alone(policy)
    assert {name for name, parameter in policy.named_parameters() if parameter.requires_grad} == set(
        adapter_tensors(policy)
    )
