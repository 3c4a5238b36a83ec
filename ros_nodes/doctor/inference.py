"""The engine that runs the policy: one onnxruntime, the provider that was asked for, and fast enough."""

import ctypes
import importlib.metadata
import importlib.util
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policy_server.runtime.bundle import Bundle
from policy_server.runtime.errors import PolicyError
from ros_nodes.doctor.finding import Finding, fail, fail_with, ok, warn
from ros_nodes.doctor.system import System

_PACKAGES = ("onnxruntime", "onnxruntime-gpu")
_CUDA = "CUDAExecutionProvider"
_CUDA_LIBRARY = "libonnxruntime_providers_cuda.so"
_RUNS = 5


@dataclass(frozen=True)
class Engine:
    """What is installed: packages by name with their version, the providers they offer, and the CUDA provider's library."""

    packages: dict[str, str]
    providers: tuple[str, ...]
    cuda_library: Path | None


def find_engine() -> Engine:
    """The engine of this environment; no providers when onnxruntime cannot be imported."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        return Engine(packages, (), None)
    try:
        import onnxruntime

        providers = tuple(onnxruntime.get_available_providers())
    except (ImportError, AttributeError):
        providers = ()
    library = Path(next(iter(spec.submodule_search_locations))) / "capi" / _CUDA_LIBRARY
    return Engine(packages, providers, library if library.exists() else None)


def load_library(path: Path) -> str:
    """Load a shared library; returns what is missing, or ""."""
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        return str(error)
    return ""


def check_engine(
    engine: Engine, provider: str, system: System, load: Callable[[Path], str] = load_library
) -> list[Finding]:
    """Packages, provider and, for CUDA, driver and libraries."""
    return [_package(engine), *([] if provider != "cuda" else _cuda(engine, system, load))]


def _package(engine: Engine) -> Finding:
    name = "inference engine"
    if len(engine.packages) > 1:
        mend = "they overwrite each other: pip uninstall -y onnxruntime onnxruntime-gpu, then install one"
        return fail(name, " and ".join(engine.packages), mend)
    if not engine.providers:
        return fail(name, "onnxruntime does not import", "pip install -c constraints.txt '.[cpu]' or '.[gpu]'")
    packages = ", ".join(f"{key} {value}" for key, value in engine.packages.items()) or "onnxruntime, not from pip"
    return ok(name, f"{packages}: {', '.join(engine.providers)}")


def _cuda(engine: Engine, system: System, load: Callable[[Path], str]) -> list[Finding]:
    findings = [_driver(system)]
    name = "CUDA provider"
    if _CUDA not in engine.providers or engine.cuda_library is None:
        mend = "pip uninstall -y onnxruntime, then pip install -c constraints.txt '.[gpu]'; or provider=cpu"
        return [*findings, fail(name, "this onnxruntime has none", mend)]
    missing = load(engine.cuda_library)
    if missing:
        mend = "install CUDA and cuDNN of the versions that this onnxruntime was built for: pip install 'onnxruntime-gpu[cuda,cudnn]'"
        return [*findings, fail(name, f"does not load: {missing}", mend)]
    return [*findings, ok(name, "its libraries load")]


def _driver(system: System) -> Finding:
    version = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)\s", f"{system.read('proc/driver/nvidia/version')} ")
    if version is None:
        return fail(
            "GPU driver", "no NVIDIA driver is loaded", "install it, or provider=cpu; nvidia-smi must list the GPU"
        )
    return ok("GPU driver", f"NVIDIA {version.group(1)}")


def check_speed(bundle: Bundle, provider: str, clock_s: Callable[[], float] = time.perf_counter) -> Finding:
    """One chunk on the provider, against the time between two of them."""
    name = f"a chunk on {provider}"
    # Only now: without onnxruntime the other checks still have something to say.
    from policy_server.runtime.engine import Denoiser

    spec = bundle.spec
    budget_ms = 1000.0 * spec.action.replan_every_ticks / spec.rate_hz
    try:
        denoiser = Denoiser(bundle, provider=provider)
    except PolicyError as error:
        return fail_with(name, error)
    context = np.zeros((spec.history.length, spec.row_width), np.float32)
    noise = np.zeros(denoiser.chunk_shape, np.float32)
    took_ms = []
    for _ in range(_RUNS):
        begun_s = clock_s()
        denoiser.sample(context, noise)
        took_ms.append(1000.0 * (clock_s() - begun_s))
    found = f"{statistics.median(took_ms):.1f} ms, a chunk is due every {budget_ms:.0f} ms"
    if statistics.median(took_ms) <= 0.5 * budget_ms:
        return ok(name, found)
    mend = "provider=cuda, fewer candidates, a bundle with fewer denoising steps, or a faster machine"
    return fail(name, found, mend) if statistics.median(took_ms) > budget_ms else warn(name, found, mend)
