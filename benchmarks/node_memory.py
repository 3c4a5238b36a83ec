"""What the inference node holds in memory beside the bundle."""

import os
import subprocess
import sys
import time
from pathlib import Path

from policy_server.runtime.bundle import Bundle
from ros_nodes.environment import graph_environment

_LOOK_EVERY_S = 0.5
_STEADY_LOOKS = 8
_PATIENCE_S = 120.0
_DOMAIN_ID = 97


def memory_beyond_bundle_mib(bundle: Bundle) -> float:
    """Resident memory of ``inference_node`` once it has loaded and warmed up the bundle and holds still, less the bundle's files."""
    command = [sys.executable, "-m", "ros_nodes.inference_node", "--ros-args", "-p", f"bundle:={bundle.path}"]
    process = subprocess.Popen(command, env={**os.environ, **graph_environment(_DOMAIN_ID)})
    try:
        resident_mib = _steady_mib(process.pid)
    finally:
        process.terminate()
        process.wait()
    return resident_mib - sum(file.stat().st_size for file in bundle.path.iterdir()) / 2**20


def _steady_mib(pid: int) -> float:
    """The resident memory when it has not changed by a MiB for some looks."""
    seen_mib: list[float] = []
    deadline_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline_s:
        seen_mib.append(_resident_mib(pid))
        newest = seen_mib[-_STEADY_LOOKS:]
        if len(newest) == _STEADY_LOOKS and max(newest) - min(newest) < 1:
            return newest[-1]
        time.sleep(_LOOK_EVERY_S)
    raise TimeoutError(f"inference_node's memory still changes after {_PATIENCE_S:.0f} s: {seen_mib[-3:]} MiB")


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 2**10
