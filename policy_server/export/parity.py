"""Does the bundle answer what torch answers? Compared over the whole path: pixels → embedding → sampled chunk."""

from dataclasses import dataclass

import numpy as np
import torch

from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.bundle import Bundle
from policy_server.runtime.engine import Denoiser, Encoder
from policy_server.runtime.errors import PolicyError
from policy_server.runtime.preprocessing import preprocess

TOLERANCE = 1e-4


class ParityError(PolicyError):
    """The exported graphs do not answer what the trained policy answers."""


@dataclass(frozen=True)
class Parity:
    """Largest absolute differences: embedding (unit scale) and chunk (rad, m)."""

    embedding: float
    chunk: float


def measure_parity(policy: DiffusionPolicy, bundle: Bundle, *, trials: int = 8, seed: int = 0) -> Parity:
    """Compare torch and ONNX Runtime on random pictures, joints near the training data, and random noise."""
    generator = np.random.default_rng(seed)
    encoder, denoiser, spec = Encoder(bundle), Denoiser(bundle), bundle.spec
    scaling = policy.scaling
    embedding_error = chunk_error = 0.0
    for _ in range(trials):
        rows = []
        for _ in range(spec.history.length):
            images = {
                c.name: generator.integers(0, 256, (c.source_height, c.source_width, 3), dtype=np.uint8)
                for c in spec.cameras
            }
            embedding = encoder.encode(images)
            with torch.no_grad():
                pixels = {c.name: torch.from_numpy(preprocess(images[c.name], c))[None] for c in spec.cameras}
                expected = policy.encode(pixels)[0].numpy()
            embedding_error = max(embedding_error, float(np.abs(embedding - expected).max()))
            joints = (
                generator.standard_normal(policy.proprioception) * scaling.proprioception_std.numpy()
                + scaling.proprioception_mean.numpy()
            )
            rows.append(np.concatenate([embedding, joints]))
        ages_s = np.array(spec.history.offsets_ticks)[:, None] / spec.rate_hz
        context = np.concatenate([ages_s, np.stack(rows)], axis=1).astype(np.float32)
        noise = generator.standard_normal(denoiser.chunk_shape).astype(np.float32)
        with torch.no_grad():
            expected = policy.sample(torch.from_numpy(context)[None], torch.from_numpy(noise)[None])[0].numpy()
        chunk_error = max(chunk_error, float(np.abs(denoiser.sample(context, noise) - expected).max()))
    return Parity(embedding_error, chunk_error)


def check_parity(parity: Parity) -> None:
    """Raises ParityError when a difference exceeds 1e-4."""
    if max(parity.embedding, parity.chunk) > TOLERANCE:
        raise ParityError(
            f"bundle and torch differ by {parity.embedding:.1e} (embedding) and {parity.chunk:.1e} (chunk), at most {TOLERANCE:.0e} "
            "is allowed: the export is wrong, do not use this bundle"
        )
