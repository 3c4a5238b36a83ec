"""Chunks that continue a standing plan: ONNX Runtime and torch answer alike, and without a plan nothing changes."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from policy_server.export.graphs import export_denoiser
from policy_server.export.writing import write_bundle
from policy_server.model.policy import DiffusionPolicy
from policy_server.model.unet import UnetConfig
from policy_server.runtime.bundle import DENOISER_FILE, load_bundle, write_manifest
from policy_server.runtime.engine import Denoiser
from policy_server.runtime.inpainting import Inpainting, InpaintingError, soft_mask
from tests.adaptable_bundle import random_adapter
from tests.small_networks import BACKBONES, network_config, network_spec, random_context, random_noise, random_policy

SPEC = network_spec(sampling_steps=5)
CONTEXT, NOISE = random_context(SPEC), random_noise(SPEC, 3)
ROWS, DRAWS = CONTEXT[0].numpy(), NOISE.numpy()
HORIZON, ACTIONS = DRAWS.shape[1:]
WEIGHT = np.array([0, 0, 1, 1, 0.6, 0.2, 0, 0], np.float32)
PLAN = 0.4 * np.sin(np.arange(HORIZON * ACTIONS, dtype=np.float32)).reshape(HORIZON, ACTIONS)

pytestmark = pytest.mark.timeout(400)  # the UNet with attention takes long to trace on a busy machine

Exported = Callable[[str, str], tuple[DiffusionPolicy, Denoiser]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A policy of a backbone and a prediction, and its denoiser, each exported once."""
    folder = tmp_path_factory.mktemp("bundles")

    @functools.cache
    def export(backbone: str, prediction: str = "clean") -> tuple[DiffusionPolicy, Denoiser]:
        config = network_config(backbone, prediction=prediction, unet=UnetConfig((16,), 3, 2))
        policy = random_policy(SPEC, config)
        write_bundle(policy, SPEC, folder / backbone / prediction, {})
        return policy, Denoiser(load_bundle(folder / backbone / prediction))

    return export


def in_torch(policy: DiffusionPolicy, given: Inpainting) -> np.ndarray:
    held, weight = torch.from_numpy(given.held)[None], torch.from_numpy(given.weight)
    with torch.no_grad():
        return policy.sample(CONTEXT, NOISE, held=held, held_weight=weight, first_step=given.first_step).numpy()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "prediction"), [*((name, "clean") for name in BACKBONES), ("transformer", "noise")]
)
@pytest.mark.parametrize("first_step", [0, 1, 4])
def test_a_continued_chunk_is_what_torch_answers(
    exported: Exported, backbone: str, prediction: str, first_step: int
) -> None:
    policy, denoiser = exported(backbone, prediction)
    given = Inpainting(PLAN, WEIGHT, first_step)
    answer = denoiser.sample_many(ROWS, DRAWS, given)
    np.testing.assert_allclose(answer, in_torch(policy, given), atol=1e-4)
    assert np.abs(answer - denoiser.sample_many(ROWS, DRAWS)).max() > 0.01, "the plan changes too little to tell"


@pytest.mark.slow
def test_what_is_held_is_answered_and_draws_the_rest_along(exported: Exported) -> None:
    _, denoiser = exported("transformer", "clean")
    free = denoiser.sample_many(ROWS, DRAWS)
    continued = denoiser.sample_many(ROWS, DRAWS, Inpainting(PLAN, (WEIGHT == 1).astype(np.float32)))
    np.testing.assert_allclose(continued[:, 2:4], np.broadcast_to(PLAN[2:4], (3, 2, ACTIONS)), atol=1e-5)
    assert (np.abs(continued - free)[:, 4:].max(axis=(1, 2)) > 1e-4).all()


@pytest.mark.slow
def test_the_last_step_alone_stays_nearer_to_the_plan_than_all_steps(exported: Exported) -> None:
    _, denoiser = exported("transformer", "clean")
    nothing = np.zeros(HORIZON, np.float32)

    def moved(plan: np.ndarray, first_step: int) -> np.ndarray:
        return denoiser.sample_many(ROWS, DRAWS, Inpainting(plan, nothing, first_step))

    # From noise alone the plan is not even read.
    np.testing.assert_array_equal(moved(PLAN, 0), moved(-PLAN, 0))
    assert np.abs(moved(PLAN, 4) - moved(-PLAN, 4)).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_without_a_plan_the_answer_is_that_of_a_graph_that_takes_none_bit_for_bit(
    exported: Exported, tmp_path: Path, backbone: str
) -> None:
    policy, denoiser = exported(backbone, "clean")
    graph = export_denoiser(policy, SPEC, inpaintable=False)
    onnx.save(graph.model, tmp_path / DENOISER_FILE)
    write_manifest(tmp_path, SPEC, {}, graph.adaptable)
    without = Denoiser(load_bundle(tmp_path))
    assert denoiser.inpaintable and not without.inpaintable
    np.testing.assert_array_equal(denoiser.sample_many(ROWS, DRAWS), without.sample_many(ROWS, DRAWS))
    # A plan of which nothing is held is no plan.
    nothing = Inpainting(PLAN, np.zeros(HORIZON, np.float32))
    np.testing.assert_array_equal(denoiser.sample_many(ROWS, DRAWS, nothing), without.sample_many(ROWS, DRAWS))
    with pytest.raises(InpaintingError, match=r"cannot continue a standing plan .* export it again"):
        without.sample_many(ROWS, DRAWS, nothing)


@pytest.mark.slow
def test_a_plan_is_held_with_an_adapter_too(exported: Exported) -> None:
    _, denoiser = exported("transformer", "clean")
    bundle = denoiser._bundle
    denoiser.load(random_adapter("a", bundle.hash, bundle.manifest.adaptable, size=0.3))
    base = denoiser.sample_many(ROWS, DRAWS, Inpainting(PLAN, WEIGHT, 2))
    denoiser.activate("a")
    adapted = denoiser.sample_many(ROWS, DRAWS, Inpainting(PLAN, WEIGHT, 2))
    denoiser.activate(None)
    np.testing.assert_allclose(adapted[:, 2:4], np.broadcast_to(PLAN[2:4], (3, 2, ACTIONS)), atol=1e-5)
    assert np.abs(adapted - base)[:, 4:].max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (Inpainting(PLAN[1:], WEIGHT), r"the policy's chunk is \(8, 8\)"),
        (Inpainting(PLAN, WEIGHT + 0.5), "give shares from 0 to 1"),
        (Inpainting(np.full_like(PLAN, np.nan), WEIGHT), "not finite"),
        (Inpainting(PLAN, WEIGHT, 5), "skip 0 to 4"),
    ],
    ids=["shape", "weight", "not finite", "no step left"],
)
def test_a_plan_that_does_not_fit_is_refused(exported: Exported, given: Inpainting, complaint: str) -> None:
    _, denoiser = exported("transformer", "clean")
    with pytest.raises(InpaintingError, match=complaint):
        denoiser.sample_many(ROWS, DRAWS, given)


def test_the_soft_mask_is_that_of_the_paper() -> None:
    # arXiv 2506.07339, eq. 5, with H = 8, d = 2, s = 3, written out.
    c = (8 - 3 - np.arange(2, 5)) / (8 - 3 - 2 + 1)
    expected = [1, 1, *(c * (np.exp(c) - 1) / (np.e - 1)), 0, 0, 0]
    np.testing.assert_allclose(soft_mask(8, 2, 5), expected, rtol=1e-6)
