"""Somebody else's policy in a process of its own, by an interpreter of its own; ``peers/protocol.py`` is its end of the line."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from policy_server.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class Peer:
    """Who takes part: a script of ``peers/``, the interpreter that runs it, and the folder it imports from if it is not installed."""

    name: str
    script: Path
    python: Path
    checkout: Path | None = None


@contextmanager
def peer_ticks(peer: Peer, sizes: Sequence[object]) -> Iterator[Callable[[int], float]]:
    """A function from a context length to the milliseconds of one tick, within which the peer's process runs.

    ``sizes``: arguments of the script, see ``peers/protocol.py``.
    """
    if shutil.which(peer.python) is None:
        raise ConfigurationError(f"no interpreter at '{peer.python}': name one of an environment for {peer.name}")
    paths = {} if peer.checkout is None else {"PYTHONPATH": str(peer.checkout.absolute())}
    process = subprocess.Popen(
        [str(part) for part in (peer.python, peer.script, *sizes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **paths},
    )
    assert process.stdin is not None and process.stdout is not None
    asked, answers = process.stdin, process.stdout

    def tick_ms(length: int) -> float:
        print(length, file=asked, flush=True)
        return float(answers.readline())

    try:
        if answers.readline().strip() != "ready":
            place = f"'{peer.python}'" + (f" with '{peer.checkout}'" if peer.checkout else "")
            raise ConfigurationError(
                f"{place} does not run {peer.script.name}: install there what its error above misses"
            )
        yield tick_ms
    finally:
        process.terminate()
        process.wait()
