"""Does the bundle answer what torch answers? Compared over the whole path: pixels → embedding → sampled chunk."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from policy_server.export.adaptable import adaptable_layers
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.adapter import Adapter
from policy_server.runtime.bundle import Bundle
from policy_server.runtime.engine import Denoiser, Encoder
from policy_server.runtime.errors import PolicyError
from policy_server.runtime.inpainting import Inpainting
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.preprocessing import preprocess

TOLERANCE = 1e-4
_RANK = 2  # of the adapter by which the inputs for adapters are checked


class ParityError(PolicyError):
    """The exported graphs do not answer what the trained policy answers."""


@dataclass(frozen=True)
class Parity:
    """Largest absolute differences: embedding (unit scale), chunk (rad, m), chunk with an adapter against merged weights, and chunk that
    continues a standing plan."""

    embedding: float
    chunk: float
    adapted_chunk: float = 0.0
    continued_chunk: float = 0.0

    @property
    def largest(self) -> float:
        return max(self.embedding, self.chunk, self.adapted_chunk, self.continued_chunk)


def measure_parity(
    policy: DiffusionPolicy, bundle: Bundle, *, trials: int = 8, candidates: int = 2, seed: int = 0
) -> Parity:
    """Compare torch and ONNX Runtime on random pictures, states near the training data, and the random noise of some candidates."""
    generator = np.random.default_rng(seed)
    encoder = Encoder(bundle) if bundle.spec.cameras else None
    denoiser = Denoiser(bundle)
    embedding_error = chunk_error = continued_error = 0.0
    for _ in range(trials):
        context = _random_context(policy, bundle.spec, generator)
        if encoder is not None:
            embeddings, difference = _encode_both(policy, bundle.spec, encoder, generator)
            embedding_error = max(embedding_error, difference)
            context[:, 1 : 1 + embeddings.shape[1]] = embeddings
        noise = generator.standard_normal((candidates, *denoiser.chunk_shape)).astype(np.float32)
        with torch.no_grad():
            expected = policy.sample(torch.from_numpy(context)[None], torch.from_numpy(noise)).numpy()
        chunk_error = max(chunk_error, float(np.abs(denoiser.sample_many(context, noise) - expected).max()))
        continued_error = max(
            continued_error, _continued_error(policy, denoiser, context, noise, expected[0], generator)
        )
    adapted_error = _adapted_error(policy, bundle.spec, denoiser, _random_adapter(bundle, generator), generator)
    return Parity(embedding_error, chunk_error, adapted_error, continued_error)


def _continued_error(
    policy: DiffusionPolicy,
    denoiser: Denoiser,
    context: NDArray[np.float32],
    noise: NDArray[np.float32],
    plan: NDArray[np.float32],
    generator: np.random.Generator,
) -> float:
    """Largest difference where a chunk near ``plan`` (H, A) is held by random weights, from a random first step on; 0 where the bundle
    takes no plan."""
    if not denoiser.inpaintable:
        return 0.0
    held = plan + 0.01 * generator.standard_normal(plan.shape).astype(np.float32)
    weight = generator.choice(np.array([0.0, 0.3, 1.0], np.float32), len(plan))
    first_step = int(generator.integers(len(policy.diffusion.sampling_steps)))
    with torch.no_grad():
        expected = policy.sample(
            torch.from_numpy(context)[None],
            torch.from_numpy(noise),
            held=torch.from_numpy(held)[None],
            held_weight=torch.from_numpy(weight),
            first_step=first_step,
        ).numpy()
    return float(np.abs(denoiser.sample_many(context, noise, Inpainting(held, weight, first_step)) - expected).max())


def _random_adapter(bundle: Bundle, generator: np.random.Generator) -> Adapter | None:
    """An adapter of every layer that takes one, which changes each layer's output by about a tenth of its unit."""
    layers = {}
    for path, (out, *fan_in) in bundle.manifest.adaptable.items():
        down = generator.standard_normal((_RANK, *fan_in)) / np.sqrt(np.prod(fan_in))
        up = 0.1 / np.sqrt(_RANK) * generator.standard_normal((out, _RANK, *(1 for _ in fan_in[1:])))
        layers[path] = (down.astype(np.float32), up.astype(np.float32))
    return Adapter("parity", bundle.hash, _RANK, float(_RANK), layers) if layers else None


def _adapted_error(
    policy: DiffusionPolicy,
    spec: PolicySpec,
    denoiser: Denoiser,
    adapter: Adapter | None,
    generator: np.random.Generator,
) -> float:
    """Largest difference between the bundle with an adapter and torch with the adapter merged into the weights."""
    if adapter is None:
        return 0.0
    merged = copy.deepcopy(policy)
    layers = adaptable_layers(merged)
    with torch.no_grad():
        for path in adapter.layers:
            layers[path].weight += torch.from_numpy(adapter.change_of(path))
    denoiser.load(adapter)
    denoiser.activate(adapter.name)
    context = _random_context(policy, spec, generator)
    noise = generator.standard_normal((1, *denoiser.chunk_shape)).astype(np.float32)
    with torch.no_grad():
        expected = merged.sample(torch.from_numpy(context)[None], torch.from_numpy(noise)).numpy()
    return float(np.abs(denoiser.sample_many(context, noise) - expected).max())


def _random_context(policy: DiffusionPolicy, spec: PolicySpec, generator: np.random.Generator) -> NDArray[np.float32]:
    """Rows (T, D) with the slots' ages, states near the training data, and no embedding yet."""
    context = np.zeros((spec.history.length, spec.row_width), np.float32)
    context[:, 0] = np.array(spec.history.offsets_ticks) / spec.rate_hz
    spread = generator.standard_normal((spec.history.length, policy.states))
    context[:, -policy.states :] = spread * policy.scaling.state_std.numpy() + policy.scaling.state_mean.numpy()
    return context


def _encode_both(
    policy: DiffusionPolicy, spec: PolicySpec, encoder: Encoder, generator: np.random.Generator
) -> tuple[NDArray[np.float32], float]:
    """The bundle's embeddings (T, E) of random pictures, and the largest difference from torch's."""
    frames = [
        {c.name: generator.integers(0, 256, (c.source_height, c.source_width, 3), dtype=np.uint8) for c in spec.cameras}
        for _ in range(spec.history.length)
    ]
    embeddings = np.stack([encoder.encode(images) for images in frames])
    pixels = {c.name: np.stack([preprocess(images[c.name], c) for images in frames]) for c in spec.cameras}
    with torch.no_grad():
        expected = policy.encode({name: torch.from_numpy(batch) for name, batch in pixels.items()}).numpy()
    return embeddings, float(np.abs(embeddings - expected).max())


def check_parity(parity: Parity) -> None:
    """Raises ParityError when a difference exceeds 1e-4."""
    if parity.largest > TOLERANCE:
        raise ParityError(
            f"bundle and torch differ by {parity.embedding:.1e} (embedding), {parity.chunk:.1e} (chunk), "
            f"{parity.adapted_chunk:.1e} (chunk with an adapter) and {parity.continued_chunk:.1e} (chunk that continues a plan), "
            f"at most {TOLERANCE:.0e} is allowed: the export is wrong, do not use this bundle"
        )
