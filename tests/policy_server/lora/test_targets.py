import pytest

from policy_server.lora.targets import GROUPS, ROLES, LoraTargetError, adaptable_layers, choose_layers
from policy_server.model.policy import DiffusionPolicy
from tests.small_networks import BACKBONES, network_config, network_spec, random_policy


def policy_of(backbone: str, *, cameras: bool = False) -> DiffusionPolicy:
    return random_policy(network_spec(cameras=cameras), network_config(backbone))


def paths(policy: DiffusionPolicy, *targets: str) -> set[str]:
    return {layer.path for layer in choose_layers(policy, targets)}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_adaptable_layer_plays_one_role_and_the_groups_are_made_of_roles(backbone: str) -> None:
    policy = policy_of(backbone, cameras=True)
    layers = adaptable_layers(policy)
    assert {layer.role for layer in layers} <= set(ROLES)
    by_role = [paths(policy, role) for role in ROLES if any(layer.role == role for layer in layers)]
    assert sum(map(len, by_role)) == len(layers) == len(set().union(*by_role))
    assert paths(policy, "all") == {layer.path for layer in layers}
    assert paths(policy, "denoiser") == {path for path in paths(policy, "all") if path.startswith("denoiser.")}
    assert paths(policy, "all") - paths(policy, "denoiser") == paths(policy, "encoder") != set()
    assert set(GROUPS["all"]) == set(ROLES)


@pytest.mark.parametrize(
    ("backbone", "role", "some"),
    [
        ("unet_attention", "attention", "denoiser.unet.middle.0.condition.attention.key_value"),
        ("unet_attention", "conditioning", "denoiser.tokens.linear"),
        ("unet_attention", "conv", "denoiser.unet.shrink.0"),
        ("unet_attention", "feedforward", "denoiser.unet.middle.0.condition.attention.feed_forward.3"),
        ("unet_film", "conditioning", "denoiser.unet.down.0.1.condition.step.1"),
        ("unet_film", "conditioning", "denoiser.condition.0"),
        ("unet_film", "conv", "denoiser.unet.out.1"),
        ("transformer", "attention", "denoiser.layers.0.self_attention.query_key_value"),
        ("transformer", "ends", "denoiser.actions"),
    ],
)
def test_layers_have_the_role_that_they_play(backbone: str, role: str, some: str) -> None:
    layers = {layer.path: layer.role for layer in adaptable_layers(policy_of(backbone))}
    assert layers[some] == role


def test_targets_add_up_and_keep_the_order_of_the_policy() -> None:
    policy = policy_of("unet_attention")
    both = choose_layers(policy, ["feedforward", "*attention.query", "denoiser.unet.middle.0.*"])
    chosen = [layer.path for layer in both]
    every = [layer.path for layer in adaptable_layers(policy)]
    assert chosen == sorted(set(chosen), key=every.index)
    assert paths(policy, "feedforward") < set(chosen)
    assert "denoiser.unet.middle.0.first.0" in chosen and "denoiser.unet.middle.1.first.0" not in chosen


@pytest.mark.parametrize(
    ("target", "mend"),
    [
        ("attenton", "did you mean 'attention'"),
        ("ends", "its roles: conditioning, attention, feedforward, conv, denoiser, all"),
        ("encoder", "fits no layer"),
        ("denoiser.unet.grow.*", "fits no layer"),
        ("*.weight", "give a pattern"),
    ],
)
def test_a_target_that_fits_no_layer_is_refused(target: str, mend: str) -> None:
    with pytest.raises(LoraTargetError, match=mend):
        choose_layers(policy_of("unet_attention"), ["attention", target])


def test_the_size_of_an_adapter_is_known_from_the_shapes() -> None:
    layers = {layer.path: layer for layer in adaptable_layers(policy_of("unet_attention"))}
    convolution = layers["denoiser.unet.shrink.0"]
    assert convolution.shape == (16, 16, 3)
    assert convolution.parameters(4) == 4 * (16 * 3 + 16)
