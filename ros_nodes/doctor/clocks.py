"""Do this machine's clocks run evenly, and do they agree with the others'? Stamps from two clocks decide what the policy sees."""

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence

from policy_server.runtime.clock import NS_PER_MS, NS_PER_S
from ros_nodes.doctor.finding import Finding, fail, ok, skip, warn
from ros_nodes.doctor.system import System

# What a time service may slew, in parts of a second per second, and what reading two clocks one after the other costs.
_SLEW = 500e-6
_READING_NS = NS_PER_MS
# The guard refuses chunks stamped 0.02 s ahead, and frames of two cameras must lie within 0.02 s.
_OFFSET_FAIL_S = 0.02
_OFFSET_WARN_S = 0.005
_TICKING_SOURCES = ("tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page")

ClockPair = Callable[[], tuple[int, int]]
Run = Callable[[Sequence[str]], str | None]


def monotonic_and_wall_ns() -> tuple[int, int]:
    """Both clocks, as near in time as one process can."""
    return time.monotonic_ns(), time.time_ns()


def run_quietly(command: Sequence[str]) -> str | None:
    """What a command prints; None when it is not installed or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, timeout=5.0, check=False)
    return done.stdout if done.returncode == 0 else None


def check_clock_steps(
    seconds: float = 1.0, read: ClockPair = monotonic_and_wall_ns, sleep: Callable[[float], None] = time.sleep
) -> Finding:
    """Compare the wall clock with the monotonic one over a while: a step between them would tear the policy's memory."""
    name = "wall clock against monotonic"
    begun, worst_ns = read(), 0
    span_ns = 0
    for _ in range(10):
        sleep(seconds / 10)
        now = read()
        span_ns = now[0] - begun[0]
        difference_ns = (now[1] - begun[1]) - span_ns
        worst_ns = max(worst_ns, difference_ns, -difference_ns)
    allowed_ns = _READING_NS + _SLEW * span_ns
    found = f"apart by {worst_ns / NS_PER_MS:.3f} ms over {span_ns / NS_PER_S:.1f} s"
    if worst_ns <= allowed_ns:
        return ok(name, found)
    return fail(
        name, found, "something steps the clock: let one service slew it (chrony with 'makestep 1 3'), no ntpdate"
    )


def check_clock_source(system: System) -> Finding:
    """A clock that is read through slow hardware costs microseconds per stamp and jitters."""
    source = system.read("sys/devices/system/clocksource/clocksource0/current_clocksource")
    if source is None:
        return skip("clock source", "the kernel does not say")
    if source in _TICKING_SOURCES:
        return ok("clock source", source)
    return warn(
        "clock source", source, "slow to read: see dmesg for why the kernel gave up tsc; firmware updates often help"
    )


def check_time_service(run: Run = run_quietly) -> Finding:
    """Offset from the time service, where one runs. Needed as soon as two computers stamp."""
    name = "time service"
    tracking = run(["chronyc", "-c", "tracking"])
    if tracking is not None:
        return _judge_chrony(name, tracking)
    shown = run(["timedatectl", "show", "-p", "NTPSynchronized", "--value"])
    if shown is not None and shown.strip() == "yes":
        return warn(
            name, "synchronised, offset unknown", "install chrony: it is more exact, and this check can read its offset"
        )
    return warn(
        name,
        "none that is synchronised",
        "needed as soon as a second computer stamps images or joint states: install chrony on both, one as the other's server",
    )


def _judge_chrony(name: str, tracking: str) -> Finding:
    """``chronyc -c tracking``: field 2 the server, field 5 how far the system time is off in s, field 14 the leap status."""
    fields = tracking.strip().split(",")
    try:
        server, offset_s, leap = fields[1], abs(float(fields[4])), fields[13]
    except (IndexError, ValueError):
        return warn(
            name, f"chronyc said '{tracking.strip()[:60]}', which is not understood", "look at: chronyc tracking"
        )
    if leap.lower().startswith("not"):
        return warn(
            name, "chrony runs and is not synchronised", "look at: chronyc sources; give it a server that answers"
        )
    found = f"chrony, {1000 * offset_s:.3f} ms from {server or 'its server'}"
    if offset_s <= _OFFSET_WARN_S:
        return ok(name, found)
    mend = "wait until it has settled; then look at: chronyc sources -v"
    return fail(name, found, mend) if offset_s > _OFFSET_FAIL_S else warn(name, found, mend)


def check_ros_time(clock_publishers: Sequence[str]) -> Finding:
    """``clock_publishers``: names of the nodes that publish /clock."""
    if not clock_publishers:
        return ok("ROS time", "the wall clock, nobody publishes /clock")
    return warn(
        "ROS time",
        f"{', '.join(clock_publishers)} publishes /clock",
        "a simulation runs on this domain: end it, or give the robot another domain_id",
    )
