"""A short real loop: one process publishes pictures as a camera does, another counts what arrives."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ros_nodes.doctor.finding import Finding, fail, ok, warn
from ros_nodes.environment import child_environment

_STARTUP_S = 15.0
_WARN_LOST = 0.0
_FAIL_LOST = 0.02
_SLOW_P99_MS = 50.0
_COLOURS = re.compile(r"\x1b\[[\d;]*m")
_MEND = "set the DDS profile for every process (docs/troubleshooting.md, 'Images are lost'); close what else keeps the machine busy"


@dataclass(frozen=True)
class LoopSpec:
    """What is sent: size, rate, duration, and the domain it is sent on."""

    width: int
    height: int
    rate_hz: float
    seconds: float
    domain_id: int

    @property
    def frames(self) -> int:
        return round(self.rate_hz * self.seconds)


@dataclass(frozen=True)
class LoopResult:
    """What came of it. ``error``: why nothing was measured; latencies from the stamp to the reader's callback."""

    sent: int
    received: int
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    error: str = ""


def run_loop(spec: LoopSpec, environment: Mapping[str, str], variables: Mapping[str, str]) -> LoopResult:
    """Start the two processes with ``environment`` and the graph's ``variables``, and wait for their end."""
    command = [sys.executable, "-m", "ros_nodes.doctor.image_process"]
    settings = json.dumps(asdict(spec))
    children: list[subprocess.Popen[str]] = []
    try:
        for role in ("receive", "send"):
            children.append(
                subprocess.Popen(
                    [*command, role, settings],
                    env=child_environment(environment, variables),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        said = [child.communicate(timeout=_STARTUP_S + 2 * spec.seconds) for child in children]
    except subprocess.TimeoutExpired:
        return LoopResult(0, 0, error="the two processes did not end in time")
    finally:
        for child in children:
            child.kill()
            child.wait()
    return _result(children, said)


def _result(children: list["subprocess.Popen[str]"], said: list[tuple[str, str]]) -> LoopResult:
    for child, (_, errors) in zip(children, said, strict=True):
        if child.returncode != 0:
            last = _COLOURS.sub("", errors).strip().splitlines()[-1:]
            return LoopResult(0, 0, error=last[0] if last else f"a process ended with status {child.returncode}")
    received, sent = (json.loads(output.strip().splitlines()[-1]) for output, _ in said)
    return LoopResult(sent["sent"], **received)


def judge_loop(spec: LoopSpec, result: LoopResult) -> list[Finding]:
    """Losses and latency of the loop."""
    name = f"image loop {spec.width} x {spec.height} at {spec.rate_hz:g} Hz"
    if result.error:
        return [
            fail(name, result.error, "do both processes see each other? Look at the DDS profile and the domain above")
        ]
    lost = result.sent - result.received
    share = lost / result.sent if result.sent else 1.0
    found = f"{lost} of {result.sent} lost, p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms"
    if share > _FAIL_LOST:
        return [fail(name, found, _MEND)]
    if share > _WARN_LOST:
        return [warn(name, found, _MEND)]
    if result.p99_ms > _SLOW_P99_MS:
        return [warn(name, found, "the machine is busy: pictures come late; close other programs or lower the rate")]
    return [ok(name, found)]
