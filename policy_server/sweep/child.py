"""A command as a child process: its output goes to a file, it never outlives its parent, and it is ended within seconds."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Child:
    """A running command, in a session of its own, so that Ctrl-C reaches its parent alone, which then ends it in good order."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._begun_s = time.monotonic()
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
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
        """Ask it to end: a training saves first."""
        self._signal(signal.SIGINT)

    def end(self, grace_s: float) -> None:
        """Wait for so long, then kill it and all that it started."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, grace_s))
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def last_words(log: Path) -> str:
    """The last line of a command's output, or of the ``error:`` lines in it."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    return (errors or lines or ["ended without a word"])[-1]


def _prepare() -> None:
    """Runs in the child: when its parent is gone the kernel kills it, so that no two ever write one run."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it
