"""The networks of a bundle at work: one encoder pass per frame, one sampler call per chunk.

A bundle that was exported for a GPU runs on buffers that stay where they are, captured as CUDA graphs where there is a GPU.
"""

import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from policy_server.runtime.adapter import Adapter, AdapterError
from policy_server.runtime.adapter_inputs import ANY_RANK, adapter_inputs, check_adapter, graph_inputs
from policy_server.runtime.bound_session import BoundSession
from policy_server.runtime.bundle import Bundle
from policy_server.runtime.errors import BundleError, ProviderError
from policy_server.runtime.inpainting import (
    INPAINTING_INPUTS,
    Inpainting,
    InpaintingError,
    check_inpainting,
    inpainting_inputs,
    inpainting_shapes,
)
from policy_server.runtime.preprocessing import preprocess
from policy_server.runtime.session import open_session


def check_precision(bundle: Bundle, provider: str) -> None:
    """Raises ProviderError when the provider would silently compute such a bundle on the CPU."""
    if bundle.manifest.precision == "int8" and provider != "cpu":
        raise ProviderError(
            f"bundle '{bundle.path}' has int8 weights, which provider '{provider}' would leave to the CPU: ask for 'cpu', or give a "
            "float32 or float16 bundle"
        )


class Encoder:
    """One frame per camera → one embedding. Warmed up on construction."""

    def __init__(self, bundle: Bundle, *, provider: str = "cpu", threads: int = 1) -> None:
        self._cameras = bundle.spec.cameras
        check_precision(bundle, provider)
        bound = bundle.manifest.target == "gpu"
        self._session = open_session(bundle.encoder_path, provider, threads, captured=bound)
        self._check_shapes(bundle)
        self._embedding_shape = (1, bundle.spec.history.embedding_dim)
        self._bound = BoundSession(self._session, provider) if bound else None
        self.encode({c.name: np.zeros((c.source_height, c.source_width, 3), np.uint8) for c in self._cameras})

    def encode(self, images: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Camera name → uint8 (source_height, source_width, 3) RGB; returns the embedding, float32 (E,)."""
        inputs = {camera.name: preprocess(images[camera.name], camera)[None] for camera in self._cameras}
        if self._bound is not None:
            return self._bound.run(inputs, self._embedding_shape)[0]
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


@dataclass(frozen=True, eq=False)
class LoadedAdapter:
    """An adapter as ONNX Runtime holds it. ``options`` point to ``native``, which must live as long as they do."""

    adapter: Adapter
    options: ort.RunOptions
    native: ort.LoraAdapter


class Denoiser:
    """Context and noise → action chunk; the whole sampler and the scaling are one graph.

    Warmed up on construction, for one candidate and for ``candidates``. Adapters may be loaded, activated and dropped from any thread
    while another one samples: loading does not hold the sampler up, activating puts one reference in place of another.
    """

    def __init__(self, bundle: Bundle, *, provider: str = "cpu", threads: int = 1, candidates: int = 1) -> None:
        spec = bundle.spec
        self._bundle = bundle
        check_precision(bundle, provider)
        bound = bundle.manifest.target == "gpu"
        self._session = open_session(bundle.denoiser_path, provider, threads, captured=bound)
        self.chunk_shape = (spec.action.horizon, len(spec.action.joints))
        self._check_shapes(bundle)
        self.inpaintable = self._check_defaults(bundle)
        batch = {item.name: item.shape[0] for item in self._session.get_inputs()}
        # A graph that has one batch axis for both wants a copy of the context for each candidate.
        self._context_is_shared = batch["context"] != batch["noise"]
        self._bound = BoundSession(self._session, provider) if bound else None
        self._warm_counts = sorted({1, candidates})
        self._changing = threading.Lock()
        self._loaded: dict[str, LoadedAdapter] = {}
        self._active: LoadedAdapter | None = None
        self.sampled_with: str | None = None  # adapter of the newest chunk
        self._warm_up(None)

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the adapters that can be activated."""
        return tuple(self._loaded)

    @property
    def active(self) -> str | None:
        """Name of the adapter that the next chunk is sampled with; None: the base policy."""
        active = self._active
        return active.adapter.name if active else None

    def check(self, adapter: Adapter) -> None:
        """Refuse an adapter that ``load`` would refuse by what it states; raises as ``check_adapter`` does."""
        check_adapter(adapter, self._bundle)

    def load(self, adapter: Adapter) -> None:
        """Make an adapter ready to be activated: check it, hand it to ONNX Runtime, sample with it once.

        Raises:
            AdapterBaseError, AdapterError: it does not fit this bundle, its name is taken, or it makes the policy answer with
                numbers that are not finite.
        """
        self.check(adapter)
        loaded = _hand_over(adapter)
        self._warm_up(loaded)
        with self._changing:
            if adapter.name in self._loaded:
                raise AdapterError(
                    f"an adapter '{adapter.name}' is loaded already: drop it first, or give this one another name"
                )
            self._loaded = {**self._loaded, adapter.name: loaded}

    def activate(self, name: str | None) -> None:
        """Sample the next chunk with the adapter of this name; None: with the base policy.

        Raises:
            AdapterError: none of this name is loaded.
        """
        with self._changing:
            self._active = self._get(name) if name is not None else None

    def drop(self, name: str) -> None:
        """Forget an adapter.

        Raises:
            AdapterError: none of this name is loaded, or it is the active one.
        """
        with self._changing:
            if self._get(name) is self._active:
                raise AdapterError(f"adapter '{name}' is active: activate another one or the base policy first")
            self._loaded = {other: loaded for other, loaded in self._loaded.items() if other != name}

    def sample(
        self, context: NDArray[np.float32], noise: NDArray[np.float32], given: Inpainting | None = None
    ) -> NDArray[np.float32]:
        """Context float32 (T, D) and noise float32 (H, A) → joint targets float32 (H, A), rad and m, past rows first."""
        return self.sample_many(context, noise[None], given)[0]

    def sample_many(
        self, context: NDArray[np.float32], noise: NDArray[np.float32], given: Inpainting | None = None
    ) -> NDArray[np.float32]:
        """N candidates of one context in one call: context float32 (T, D), noise float32 (N, H, A) → float32 (N, H, A).

        ``given``: what all candidates have of a standing plan.

        Raises:
            InpaintingError: the bundle takes no such plan, or it does not fit the chunk.
        """
        plan = {}
        if given is not None:
            self.check_inpaintable()
            check_inpainting(given, self.chunk_shape, self._bundle.spec.sampler.steps)
            plan = inpainting_inputs(given)
        active = self._active
        self.sampled_with = active.adapter.name if active else None
        return self._run(context, noise, active, plan)

    def check_inpaintable(self) -> None:
        """Raises InpaintingError when the graph was exported before it took standing plans, or without."""
        if not self.inpaintable:
            raise InpaintingError(
                f"bundle '{self._bundle.path}' cannot continue a standing plan (real-time chunking, warm start): its denoiser has no "
                f"inputs {', '.join(INPAINTING_INPUTS)}; export it again (python -m policy_server.export)"
            )

    def _run(
        self,
        context: NDArray[np.float32],
        noise: NDArray[np.float32],
        loaded: LoadedAdapter | None,
        plan: Mapping[str, NDArray[np.float32] | NDArray[np.int64]] = MappingProxyType({}),
    ) -> NDArray[np.float32]:
        rows = context[None]
        if not self._context_is_shared:
            rows = np.broadcast_to(rows, (len(noise), *context.shape))
        if self._bound is not None:  # such a bundle takes no adapters
            inputs = {"context": rows, "noise": noise, **(plan or self._no_plan())}
            return self._bound.run(inputs, noise.shape)
        options = loaded.options if loaded else None
        return self._session.run(["actions"], {"context": rows, "noise": noise, **plan}, options)[0]

    def _no_plan(self) -> dict[str, NDArray[np.generic]]:
        """The inputs for a standing plan when there is none, where the graph has them: a captured graph reads them in any case."""
        if not self.inpaintable:
            return {}
        held = np.zeros(self.chunk_shape, np.float32)
        return {**inpainting_inputs(Inpainting(held, held[:, 0]))}

    def _warm_up(self, loaded: LoadedAdapter | None) -> None:
        spec = self._bundle.spec
        context = np.zeros((spec.history.length, spec.row_width), np.float32)
        for count in self._warm_counts:
            chunks = self._run(context, np.zeros((count, *self.chunk_shape), np.float32), loaded)
            if loaded is not None and not np.isfinite(chunks).all():
                raise AdapterError(
                    f"with adapter '{loaded.adapter.name}' the policy answers numbers that are not finite: train it again"
                )

    def _get(self, name: str) -> LoadedAdapter:
        if name not in self._loaded:
            raise AdapterError(f"no adapter '{name}' is loaded; loaded: {', '.join(self._loaded) or 'none'}")
        return self._loaded[name]

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

    def _check_defaults(self, bundle: Bundle) -> bool:
        """Check the inputs that have a default; returns whether those for a standing plan are among them."""
        given = {
            item.name: tuple(size if isinstance(size, int) else ANY_RANK for size in item.shape)
            for item in self._session.get_overridable_initializers()
        }
        wanted = graph_inputs(bundle.manifest.adaptable)
        inpaintable = any(name in given for name in INPAINTING_INPUTS)
        if inpaintable:
            wanted |= inpainting_shapes(*self.chunk_shape)
        for name in sorted(given.keys() | wanted.keys()):
            if given.get(name) != wanted.get(name):
                purpose = "standing plans" if name in INPAINTING_INPUTS else "adapters"
                raise BundleError(
                    f"bundle '{bundle.path}': the denoiser's input '{name}' for {purpose} has shape {given.get(name)}, the manifest says "
                    f"{wanted.get(name)}: export it again"
                )
        return inpaintable


def _hand_over(adapter: Adapter) -> LoadedAdapter:
    """An adapter in ONNX Runtime's hands. It maps a file of its own format into memory; the file may go when it is mapped, and must not
    change before."""
    content = ort.AdapterFormat()
    values = {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in adapter_inputs(adapter).items()}
    content.set_parameters(values)
    native, options = ort.LoraAdapter(), ort.RunOptions()
    with tempfile.TemporaryDirectory(prefix="adapter_") as folder:
        file = str(Path(folder) / "adapter.onnx_adapter")
        content.export_adapter(file)
        native.Load(file)
    options.add_active_adapter(native)
    return LoadedAdapter(adapter, options, native)
