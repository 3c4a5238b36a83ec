"""A folder that one process at a time works in."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from policy_server.runtime.errors import PolicyError


class FolderBusyError(PolicyError):
    """Another process works in this folder."""


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Holds ``folder`` for this process, until it ends in whatever way. Raises FolderBusyError when another has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FolderBusyError(f"'{folder}' is in use by another process: wait for it, or end it") from None
        yield
