"""Which threads go first: the control before all, work beside it after all."""

import contextlib
import os
import threading

_NICE = 10


def give_way() -> None:
    """Let every other thread of the machine go before the calling one, for as long as that lives.

    Threads that it starts inherit this and keep it: a process without privileges cannot take it back. Without effect where the
    system has no priority per thread.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def take_precedence(priority: int) -> str:
    """Let the calling thread go before every thread without real-time priority, and among those with one by ``priority``, 1 to 99.

    Returns "", or why the system does not allow it.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(priority))
    except OSError as error:
        return error.strerror or str(error)
    return ""
