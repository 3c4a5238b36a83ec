"""Adapters on exported denoisers: ONNX Runtime with an adapter, a merged bundle and torch with merged weights answer alike."""

import copy
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from policy_server.export.adaptable import adaptable_layers, weight_shapes
from policy_server.export.writing import write_bundle
from policy_server.model.policy import DiffusionPolicy
from policy_server.model.unet import UnetConfig
from policy_server.runtime.adapter import Adapter
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.engine import Denoiser
from tests.adaptable_bundle import random_adapter
from tests.small_networks import (
    BACKBONES,
    network_config,
    network_spec,
    random_context,
    random_noise,
    random_policy,
)

TOLERANCE = 1e-4
SPEC = network_spec(sampling_steps=5)
CONTEXT, NOISE = random_context(SPEC), random_noise(SPEC, 3)
ROWS, DRAWS = CONTEXT[0].numpy(), NOISE.numpy()

Exported = Callable[[str], tuple[DiffusionPolicy, Bundle]]


def small_policy(backbone: str) -> DiffusionPolicy:
    """One level of the UNet with attention, which takes long to trace; its convolutions are those of the other one, which has two."""
    widths = (16,) if backbone == "unet_attention" else (16, 32)
    return random_policy(SPEC, network_config(backbone, unet=UnetConfig(widths, 3, 2)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A policy of a backbone and its bundle that takes adapters, each exported once."""
    folder = tmp_path_factory.mktemp("bundles")

    @functools.cache
    def export(backbone: str) -> tuple[DiffusionPolicy, Bundle]:
        policy = small_policy(backbone)
        write_bundle(policy, SPEC, folder / backbone, {})
        return policy, load_bundle(folder / backbone)

    return export


def merged(policy: DiffusionPolicy, adapter: Adapter) -> DiffusionPolicy:
    """The policy with the adapter's changes in its weights."""
    result = copy.deepcopy(policy)
    layers = adaptable_layers(result)
    for path in adapter.layers:
        layers[path].weight.data += torch.from_numpy(adapter.change_of(path))
    return result


def in_torch(policy: DiffusionPolicy) -> NDArray[np.float32]:
    with torch.no_grad():
        return policy.sample(CONTEXT, NOISE).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_an_adapter_answers_what_torch_answers_with_merged_weights(exported: Exported, backbone: str) -> None:
    policy, base = exported(backbone)
    denoiser = Denoiser(base)
    layers = base.manifest.adaptable
    for rank, changed in ((1, layers), (8, layers), (4, dict(list(layers.items())[::3]))):
        adapter = random_adapter(f"rank {rank}", base.hash, changed, rank=rank, size=0.3)
        denoiser.load(adapter)
        denoiser.activate(adapter.name)
        answer = denoiser.sample_many(ROWS, DRAWS)
        np.testing.assert_allclose(answer, in_torch(merged(policy, adapter)), atol=TOLERANCE)
        assert np.abs(answer - in_torch(policy)).max() > 100 * TOLERANCE, "it changes too little to tell"


@pytest.mark.slow
def test_a_merged_bundle_answers_what_the_adapter_answers(exported: Exported, tmp_path: Path) -> None:
    policy, base = exported("transformer")
    adapter = random_adapter("a", base.hash, base.manifest.adaptable, rank=8, size=0.3)
    write_bundle(merged(policy, adapter), SPEC, tmp_path / "merged", {}, adaptable=False)
    denoiser = Denoiser(base)
    denoiser.load(adapter)
    denoiser.activate("a")
    of_merged = Denoiser(load_bundle(tmp_path / "merged")).sample_many(ROWS, DRAWS)
    np.testing.assert_allclose(denoiser.sample_many(ROWS, DRAWS), of_merged, atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["unet_film", "transformer"])
def test_without_an_adapter_the_answer_is_that_of_a_graph_that_takes_none(
    exported: Exported, tmp_path: Path, backbone: str
) -> None:
    policy, base = exported(backbone)
    write_bundle(policy, SPEC, tmp_path / "plain", {}, adaptable=False)
    plain, adaptable = Denoiser(load_bundle(tmp_path / "plain")), Denoiser(base)
    # To rounding: of the plain graph ONNX Runtime computes what no input reaches when it loads it, in another order of sums.
    np.testing.assert_allclose(adaptable.sample_many(ROWS, DRAWS), plain.sample_many(ROWS, DRAWS), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_layer_that_takes_an_adapter_can_change_the_chunk(exported: Exported, backbone: str) -> None:
    policy, base = exported(backbone)
    assert set(base.manifest.adaptable) == set(adaptable_layers(policy))
    denoiser = Denoiser(base)
    plain = denoiser.sample_many(ROWS, DRAWS)
    for path, weight in base.manifest.adaptable.items():
        denoiser.load(random_adapter(path, base.hash, {path: weight}, size=0.5))
        denoiser.activate(path)
        assert np.abs(denoiser.sample_many(ROWS, DRAWS) - plain).max() > 1e-5, path


@pytest.mark.parametrize("backbone", BACKBONES)
def test_linear_layers_and_convolutions_of_the_denoiser_take_adapters_and_the_encoder_none(backbone: str) -> None:
    spec = network_spec(cameras=True)
    policy = random_policy(spec, network_config(backbone))
    layers = adaptable_layers(policy)
    weights = {name.removesuffix(".weight") for name, value in policy.named_parameters() if value.ndim > 1}
    others = {path for path in weights - layers.keys() if not path.startswith("encoder.")}
    assert all(path.startswith("denoiser.unet.grow.") or path == "denoiser.position" for path in others), others
    assert all(path.startswith("denoiser.") for path in layers)
    assert weight_shapes(policy, list(layers)) == {path: tuple(layer.weight.shape) for path, layer in layers.items()}
