"""Can this machine keep libfranka's 1 kHz? Kernel, limits, governor, cores.

The robot drops a motion when its commands come late (``communication_constraints_violation``). What is needed is in Franka's
guide to the real-time kernel; the limits are those of its ``/etc/security/limits.conf``.
"""

import re
from collections.abc import Callable

from ros_nodes.doctor.finding import Finding, fail, ok, skip, warn
from ros_nodes.doctor.system import System

_WANTED_PRIORITY = 99
_WANTED_LOCKED_KB = 102400


def check_realtime(system: System, drives_arm: bool) -> list[Finding]:
    """``drives_arm``: this machine itself answers the robot every millisecond; without it, shortcomings only warn."""
    complain = fail if drives_arm else warn
    return [
        _kernel(system, complain),
        _priority(system, complain),
        _locked_memory(system),
        _governor(system),
        _isolated_cores(system),
    ]


_Complain = Callable[[str, str, str], Finding]


def _kernel(system: System, complain: _Complain) -> Finding:
    version = system.read("proc/version") or ""
    release = " ".join(version.split()[2:3]) or "unknown kernel"
    if system.read("sys/kernel/realtime") == "1" or re.search(r"PREEMPT[_ ]RT", version):
        return ok("real-time kernel", f"{release} with PREEMPT_RT")
    return complain(
        "real-time kernel",
        f"{release} without PREEMPT_RT",
        "needed where this machine talks to the arm itself: install one (Ubuntu Pro's realtime kernel, Debian's linux-image-rt) and "
        "boot it",
    )


def _priority(system: System, complain: _Complain) -> Finding:
    limit = _soft_limit(system, "Max realtime priority")
    name = "real-time priority"
    if limit is None:
        return skip(name, "proc/self/limits cannot be read")
    if limit >= _WANTED_PRIORITY:
        return ok(name, f"up to {limit:.0f}")
    return complain(
        name,
        f"up to {limit:.0f}, wanted {_WANTED_PRIORITY}",
        "add '@realtime - rtprio 99' and '@realtime - memlock 102400' to /etc/security/limits.conf, add yourself to the group "
        "'realtime', log in again",
    )


def _locked_memory(system: System) -> Finding:
    limit = _soft_limit(system, "Max locked memory")
    name = "locked memory"
    if limit is None:
        return skip(name, "proc/self/limits cannot be read")
    if limit / 1024 >= _WANTED_LOCKED_KB:
        return ok(name, "unlimited" if limit == float("inf") else f"up to {limit / 1024:.0f} kB")
    return warn(
        name,
        f"up to {limit / 1024:.0f} kB, wanted {_WANTED_LOCKED_KB}",
        "add '@realtime - memlock 102400' to /etc/security/limits.conf and log in again",
    )


def _soft_limit(system: System, name: str) -> float | None:
    text = system.read("proc/self/limits")
    match = re.search(rf"^{name}\s+(\d+|unlimited)", text or "", re.MULTILINE)
    if match is None:
        return None
    return float("inf") if match.group(1) == "unlimited" else float(match.group(1))


def _governor(system: System) -> Finding:
    files = system.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    name = "CPU governor"
    if not files:
        return skip(name, "the kernel does not scale this machine's frequency")
    chosen = [file.read_text(encoding="utf-8").strip() for file in files]
    slow = sorted({governor for governor in chosen if governor != "performance"})
    if not slow:
        return ok(name, f"performance on {len(files)} cores")
    return warn(
        name,
        f"{', '.join(slow)} on {sum(governor != 'performance' for governor in chosen)} of {len(files)} cores",
        "sudo cpupower frequency-set -g performance, at every boot",
    )


def _isolated_cores(system: System) -> Finding:
    isolated = system.read("sys/devices/system/cpu/isolated")
    if isolated is None:
        return skip("isolated cores", "sys/devices/system/cpu/isolated cannot be read")
    return ok("isolated cores", isolated or "none, which is enough until set-points come late under load")
