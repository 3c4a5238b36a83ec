"""Scheduling priority for the threads that must answer the robot every millisecond."""

import contextlib
import os
from pathlib import Path

_PRIORITY = 20


def own_threads() -> set[int]:
    """Ids of this process's threads, those of C++ libraries too."""
    return {int(entry.name) for entry in Path("/proc/self/task").iterdir()}


def prefer(threads: set[int]) -> bool:
    """Let these threads run before all ordinary ones; false where the system does not allow it (see ulimit -r)."""
    allowed = True
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):
            try:
                os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(_PRIORITY))
            except PermissionError:
                allowed = False
    return allowed
