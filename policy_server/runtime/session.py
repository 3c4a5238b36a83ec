"""ONNX Runtime sessions on exactly the hardware that was asked for."""

import hashlib
import os
import threading
from pathlib import Path

import onnxruntime as ort

from policy_server.runtime.errors import BundleError, ProviderError

_CPU, _CUDA, _TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
_PROVIDERS = {"cpu": _CPU, "cuda": _CUDA, "tensorrt": _TENSORRT}
_ERRORS_ALONE = 3

gpu_lock = threading.RLock()
"""Held while a session is made or run on a GPU: while one thread records a CUDA graph no other may touch the GPU, whatever the session."""


def open_session(path: Path, provider: str, threads: int, *, captured: bool = False) -> ort.InferenceSession:
    """An ONNX Runtime session on exactly the provider that was asked for.

    Args:
        provider: ``cpu``, ``cuda`` or ``tensorrt``.
        threads: intra-op threads of a CPU; results are reproducible bit for bit at a fixed number.
        captured: on a GPU, record the kernels of the first run as a CUDA graph and start them together from then on. The session must
            then be run on buffers that stay where they are (``bound_session.py``), and its graph must not hold a loop or a branch.

    Raises:
        ProviderError: the provider is unknown, not installed, fails, or ONNX Runtime fell back to another one.
        BundleError: the file is not a model that ONNX Runtime can load on a CPU.
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
    options.log_severity_level = _ERRORS_ALONE  # else it warns of every input that has a default
    try:
        with gpu_lock:
            session = ort.InferenceSession(str(path), options, providers=_with_options(wanted, captured, path))
    except Exception as error:  # onnxruntime raises many unrelated classes
        said = str(error).splitlines()[0]
        if wanted == _CPU:
            raise BundleError(f"'{path}' does not load in ONNX Runtime: {said}: export the bundle again") from None
        raise ProviderError(
            f"'{path}' does not start on provider '{provider}': {said}: check the GPU's memory, driver and CUDA, or ask for 'cpu'"
        ) from None
    session.disable_fallback()  # else a failing run would silently go on elsewhere
    if session.get_providers()[0] != wanted:
        raise ProviderError(
            f"asked for '{provider}', ONNX Runtime fell back to {session.get_providers()[0]}: check driver and CUDA"
        )
    return session


def _with_options(wanted: str, captured: bool, path: Path) -> list[tuple[str, dict[str, str]]]:
    """The provider and those that may take what it cannot, with their options."""
    if wanted == _CPU:
        return [(_CPU, {})]
    # Products in full float32, as everywhere else.
    cuda = {"use_tf32": "0"}
    if wanted == _CUDA:
        return [(_CUDA, {**cuda, "enable_cuda_graph": "1" if captured else "0"})]
    # Building an engine takes minutes; the next start finds it. Engines are told apart by the names in a graph, not by its weights, so
    # every file has a folder of its own. Graphs are not captured: TensorRT replays the first one for inputs of any other shape.
    cache = Path(os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache") / "long_context_policy" / "tensorrt"
    built = cache / hashlib.sha256(path.read_bytes()).hexdigest()
    built.mkdir(parents=True, exist_ok=True)
    return [
        (_TENSORRT, {"trt_engine_cache_enable": "True", "trt_engine_cache_path": str(built)}),
        (_CUDA, cuda),
    ]
