"""What computed a result, and on what."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("torch", "onnxruntime", "mujoco", "numpy")


def versions(root: Path) -> str:
    """Commit of the checkout (with ``-dirty`` when files differ from it), Python, and the packages that numbers depend on."""
    found = [f"python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join([f"commit {_commit(root)}", *found])


def machine() -> str:
    """Processor, usable cores and, where there are any, GPUs."""
    gpus = [_gpu_name(folder) for folder in sorted(Path("/proc/driver/nvidia/gpus").glob("*"))]
    return ", ".join([_processor(), f"{len(os.sched_getaffinity(0))} cores", *gpus])


def _commit(root: Path) -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpu_name(folder: Path) -> str:
    lines = (folder / "information").read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("Model")), "GPU")
