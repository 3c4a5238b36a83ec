"""ONNX Runtime sessions: one encoder pass per frame, one sampler call per chunk."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from policy_server.runtime.bundle import Bundle
from policy_server.runtime.errors import BundleError, ProviderError
from policy_server.runtime.preprocessing import preprocess

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def open_session(path: Path, provider: str, threads: int) -> ort.InferenceSession:
    """An ONNX Runtime session on exactly the provider that was asked for.

    Args:
        provider: ``cpu`` or ``cuda``.
        threads: intra-op threads; results are reproducible bit for bit at a fixed number.

    Raises:
        ProviderError: the provider is unknown, not installed, or ONNX Runtime fell back to another one.
        BundleError: the file is not a model that ONNX Runtime can load.
    """
    if provider not in _PROVIDERS:
        raise ProviderError(f"unknown provider '{provider}': use one of {', '.join(_PROVIDERS)}")
    wanted = _PROVIDERS[provider]
    if wanted not in ort.get_available_providers():
        raise ProviderError(
            f"provider '{provider}' is not in this onnxruntime: install onnxruntime-gpu, or ask for 'cpu'"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would take the second core from the nodes beside this one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(str(path), options, providers=[wanted])
    except Exception as error:  # onnxruntime raises many unrelated classes
        raise BundleError(
            f"'{path}' does not load in ONNX Runtime: {str(error).splitlines()[0]}: export the bundle again"
        ) from None
    if session.get_providers()[0] != wanted:
        raise ProviderError(
            f"asked for '{provider}', ONNX Runtime fell back to {session.get_providers()[0]}: check driver and CUDA"
        )
    return session


class Encoder:
    """One frame per camera → one embedding. Warmed up on construction."""

    def __init__(self, bundle: Bundle, *, provider: str = "cpu", threads: int = 1) -> None:
        self._cameras = bundle.spec.cameras
        self._session = open_session(bundle.encoder_path, provider, threads)
        self._check_shapes(bundle)
        self.encode({c.name: np.zeros((c.source_height, c.source_width, 3), np.uint8) for c in self._cameras})

    def encode(self, images: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Camera name → uint8 (source_height, source_width, 3) RGB; returns the embedding, float32 (E,)."""
        inputs = {camera.name: preprocess(images[camera.name], camera)[None] for camera in self._cameras}
        return self._session.run(["embedding"], inputs)[0][0]

    def _check_shapes(self, bundle: Bundle) -> None:
        given = {item.name: list(item.shape[1:]) for item in self._session.get_inputs()}
        wanted = {camera.name: [camera.height, camera.width, 3] for camera in self._cameras}
        if given != wanted:
            raise BundleError(
                f"bundle '{bundle.path}': the encoder takes {given}, the manifest says {wanted}: export it again"
            )
        width = self._session.get_outputs()[0].shape[-1]
        if width != bundle.spec.history.embedding_dim:
            raise BundleError(
                f"bundle '{bundle.path}': the encoder gives {width} numbers, the manifest says {bundle.spec.history.embedding_dim}"
            )


class Denoiser:
    """Context and noise → action chunk; the whole sampler and the scaling are one graph.

    Warmed up on construction, for one candidate and for ``candidates``.
    """

    def __init__(self, bundle: Bundle, *, provider: str = "cpu", threads: int = 1, candidates: int = 1) -> None:
        spec = bundle.spec
        self._session = open_session(bundle.denoiser_path, provider, threads)
        self.chunk_shape = (spec.action.horizon, len(spec.action.joints))
        self._check_shapes(bundle)
        batch = {item.name: item.shape[0] for item in self._session.get_inputs()}
        # A graph that has one batch axis for both wants a copy of the context for each candidate.
        self._context_is_shared = batch["context"] != batch["noise"]
        context = np.zeros((spec.history.length, spec.row_width), np.float32)
        for count in {1, candidates}:
            self.sample_many(context, np.zeros((count, *self.chunk_shape), np.float32))

    def sample(self, context: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """Context float32 (T, D) and noise float32 (H, A) → joint targets float32 (H, A), rad and m, past rows first."""
        return self.sample_many(context, noise[None])[0]

    def sample_many(self, context: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """N candidates of one context in one call: context float32 (T, D), noise float32 (N, H, A) → float32 (N, H, A)."""
        rows = context[None]
        if not self._context_is_shared:
            rows = np.broadcast_to(rows, (len(noise), *context.shape))
        return self._session.run(["actions"], {"context": rows, "noise": noise})[0]

    def _check_shapes(self, bundle: Bundle) -> None:
        given = {item.name: item.shape for item in self._session.get_inputs()}
        if set(given) != {"context", "noise"}:
            raise BundleError(
                f"bundle '{bundle.path}': the denoiser takes {sorted(given)}, not context and noise: export it again"
            )
        fits = given["context"][-1] == bundle.spec.row_width and tuple(given["noise"][1:]) == self.chunk_shape
        if not fits:
            raise BundleError(
                f"bundle '{bundle.path}': the denoiser takes context {given['context']} and noise {given['noise']}, the manifest says "
                f"rows of {bundle.spec.row_width} and chunks {self.chunk_shape}: export it again"
            )
