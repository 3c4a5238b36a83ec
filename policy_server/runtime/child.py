"""A command as a child process: its output goes to a file, it never outlives its parent, and it can be ended within seconds."""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

GRACE_S = 5.0
_PR_SET_PDEATHSIG = 1
_PROGRESS = re.compile(r"(\d+)/(\d+) \[")
_EXCEPTION = re.compile(r"^[\w.]+(Error|Exception)\b")
_TAIL_BYTES = 16384

_libc = ctypes.CDLL(None, use_errno=True)


class Child:
    """A running command. It has a process group of its own, so that Ctrl-C reaches its parent alone.

    Start it in the thread that waits for it: the kernel kills it when that thread ends. Without ``log`` its output goes where
    its parent's goes.
    """

    def __init__(self, command: Sequence[str], log: Path | None, cwd: Path, environment: Mapping[str, str]) -> None:
        self._begun_s = time.monotonic()
        with log.open("wb") if log else contextlib.nullcontext() as stream:
            self._process = subprocess.Popen(
                command,
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT if log else None,
                start_new_session=True,
                preexec_fn=_prepare,
            )

    @property
    def status(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._begun_s

    def interrupt(self) -> None:
        """Ask it, and all that it started, to end."""
        self._signal(signal.SIGINT)

    def end(self, grace_s: float = GRACE_S) -> None:
        """Wait for so long, then kill what is left of it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, grace_s))
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def last_error(log: Path) -> str:
    """What a command failed of: the last line that begins with ``error:``, or names an exception, or says anything at all."""
    lines = [line.strip() for line in re.split(r"[\r\n]", _tail(log)) if line.strip()]
    errors = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    exceptions = [line for line in lines if _EXCEPTION.match(line)]
    return (errors or exceptions or lines or ["ended without a word"])[-1]


def progress(log: Path) -> float | None:
    """How far a progress bar in the log has come, 0 to 1; None while there is none."""
    found = _PROGRESS.findall(_tail(log))
    if not found:
        return None
    done, total = (int(number) for number in found[-1])
    return done / total if total else None


def _tail(log: Path) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return stream.read().decode(errors="replace")


def _prepare() -> None:
    """Runs in the child before the command.

    When the parent is gone, the kernel kills the child, so that no two ever write one file. And it can be interrupted, though its
    parent was started in the background (which ignores SIGINT) or is a worker of Ray (which blocks it).
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
