import dataclasses
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from policy_server.export.adaptable import adaptable_layers
from policy_server.export.parity import Parity, ParityError, check_parity
from policy_server.export.writing import write_bundle
from policy_server.model.policy import ModelConfig
from policy_server.model.unet import UnetConfig
from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.engine import Denoiser
from policy_server.runtime.manifest import VerificationSpec
from policy_server.runtime.verification import VerificationError
from tests.small_networks import (
    BACKBONES,
    network_config,
    network_spec,
    random_context,
    random_noise,
    random_policy,
    small_encoder,
)


class Case(NamedTuple):
    """One choice of every option that the exported graphs depend on."""

    backbone: str
    sees: str  # features, or pictures through this head of the encoder
    context_length: int
    prediction: str
    actions: str
    sampling_steps: int
    adaptable: bool


OPTIONS = (
    BACKBONES,
    ("features", "flatten", "spatial_softmax", "pooled"),
    (1, 2, 5, 16, 64, 256),
    ("clean", "noise"),
    ("relative", "absolute"),
    (1, 3, 10),
    (True, False),
)
# Together they hold every pair of options; a test below counts.
CASES = (
    Case("unet_film", "features", 1, "noise", "absolute", 3, False),
    Case("transformer", "pooled", 16, "noise", "relative", 1, False),
    Case("unet_attention", "flatten", 2, "clean", "relative", 3, False),
    Case("unet_film", "features", 64, "clean", "relative", 10, True),
    Case("transformer", "spatial_softmax", 5, "clean", "absolute", 10, False),
    Case("unet_attention", "flatten", 64, "noise", "absolute", 1, False),
    Case("unet_film", "spatial_softmax", 1, "clean", "relative", 1, True),
    Case("unet_attention", "pooled", 2, "noise", "absolute", 10, False),
    Case("unet_film", "flatten", 16, "clean", "absolute", 10, False),
    Case("unet_film", "pooled", 5, "clean", "relative", 3, False),
    Case("transformer", "spatial_softmax", 64, "noise", "absolute", 3, True),
    Case("unet_attention", "features", 5, "noise", "relative", 1, True),
    Case("transformer", "flatten", 1, "noise", "absolute", 10, False),
    Case("unet_attention", "spatial_softmax", 16, "noise", "relative", 3, True),
    Case("transformer", "features", 2, "clean", "absolute", 1, True),
    Case("unet_attention", "pooled", 1, "clean", "absolute", 1, True),
    Case("unet_film", "spatial_softmax", 2, "clean", "absolute", 1, False),
    Case("unet_film", "flatten", 5, "clean", "relative", 3, True),
    Case("unet_film", "features", 16, "clean", "relative", 10, False),
    Case("unet_attention", "pooled", 64, "clean", "absolute", 10, False),
    Case("unet_film", "features", 256, "noise", "absolute", 1, False),
    Case("transformer", "flatten", 256, "clean", "relative", 3, False),
    Case("unet_attention", "spatial_softmax", 256, "noise", "relative", 10, False),
    Case("unet_film", "pooled", 256, "clean", "absolute", 3, True),
)


def test_the_cases_hold_every_pair_of_options() -> None:
    wanted = set()
    for (i, first), (j, second) in itertools.combinations(enumerate(OPTIONS), 2):
        wanted |= {(i, a, j, b) for a in first for b in second}
    for case in CASES:
        wanted -= {(i, a, j, b) for (i, a), (j, b) in itertools.combinations(enumerate(case), 2)}
    assert not wanted


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_the_bundle_answers_what_torch_answers(tmp_path: Path, case: Case) -> None:
    spec = network_spec(
        context_length=case.context_length, cameras=case.sees != "features", sampling_steps=case.sampling_steps
    )
    config = network_config(
        case.backbone,
        prediction=case.prediction,
        actions=case.actions,
        unet=UnetConfig((16,), 3, 2),
        encoder=small_encoder("flatten" if case.sees == "features" else case.sees),
    )
    policy = random_policy(spec, config)
    parity = write_bundle(policy, spec, tmp_path / "bundle", {"steps": 0}, adaptable=case.adaptable)
    assert parity.largest <= 1e-4 and parity.continued_chunk > 0
    assert (parity.adapted_chunk > 0) == case.adaptable
    bundle = load_bundle(tmp_path / "bundle")
    assert dataclasses.replace(bundle.spec, verification=spec.verification) == spec
    assert bundle.encoder_path.exists() == bool(spec.cameras)
    assert set(bundle.manifest.adaptable) == (set(adaptable_layers(policy)) if case.adaptable else set())


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_networks_of_full_size_answer_what_torch_answers(tmp_path: Path, backbone: str) -> None:
    spec = network_spec(context_length=64, past_steps=2, sampling_steps=10)
    parity = write_bundle(random_policy(spec, ModelConfig(backbone)), spec, tmp_path / "bundle", {})  # type: ignore[arg-type]
    assert parity.chunk <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["unet_attention", "transformer"])
def test_one_graph_serves_any_context_length_and_number_of_candidates(tmp_path: Path, backbone: str) -> None:
    spec = network_spec()
    policy = random_policy(spec, network_config(backbone))
    write_bundle(policy, spec, tmp_path / "bundle", {})
    denoiser = Denoiser(load_bundle(tmp_path / "bundle"))
    for candidates, length in ((1, 1), (1, 33), (5, 2), (2, 256)):
        context = random_context(network_spec(context_length=length))
        noise = random_noise(spec, candidates)
        with torch.no_grad():
            expected = policy.sample(context, noise).numpy()
        np.testing.assert_allclose(denoiser.sample_many(context[0].numpy(), noise.numpy()), expected, atol=1e-4)


@pytest.mark.slow
def test_a_chunk_without_past_is_exported_too(tmp_path: Path) -> None:
    spec = network_spec(past_steps=0)
    parity = write_bundle(random_policy(spec, network_config("transformer")), spec, tmp_path / "bundle", {})
    assert parity.chunk <= 1e-4


@pytest.mark.slow
def test_the_bundle_says_how_many_candidates_and_in_which_unit_they_are_compared(tmp_path: Path) -> None:
    spec = dataclasses.replace(network_spec(), verification=VerificationSpec(3))
    policy = random_policy(spec, network_config("transformer"))
    write_bundle(policy, spec, tmp_path / "bundle", {})
    written = load_bundle(tmp_path / "bundle").spec.verification
    assert written.candidates == 3
    np.testing.assert_allclose(written.scales, policy.scaling.action_half_range.amax(0), atol=1e-6)


def test_candidates_that_a_policy_cannot_verify_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    spec = dataclasses.replace(network_spec(past_steps=0), verification=VerificationSpec(3))
    with pytest.raises(VerificationError, match="no past actions"):
        write_bundle(random_policy(spec, network_config("transformer")), spec, tmp_path / "bundle", {})
    assert not list(tmp_path.iterdir())


def test_a_bundle_that_differs_from_torch_is_refused() -> None:
    check_parity(Parity(1e-5, 9e-5))
    for parity in (Parity(1e-6, 2e-4), Parity(2e-4, 1e-6), Parity(1e-6, 1e-6, 2e-4), Parity(1e-6, 1e-6, 0.0, 2e-4)):
        with pytest.raises(ParityError, match="do not use this bundle"):
            check_parity(parity)
