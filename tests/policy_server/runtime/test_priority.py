"""The control goes first and work beside it gives way; other threads stay as they are."""

import os
import threading

from policy_server.runtime.priority import give_way, take_precedence


def test_only_the_thread_that_gives_way_is_lowered() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    lowered: list[int] = []

    def work() -> None:
        give_way()
        lowered.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert lowered == [max(before, 10)]
    assert os.getpriority(os.PRIO_PROCESS, threading.main_thread().native_id or 0) == before


def test_only_the_thread_that_takes_precedence_is_raised_where_the_system_allows_it() -> None:
    before = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
    seen: list[tuple[str, tuple[int, int]]] = []

    def work() -> None:
        refusal = take_precedence(7)
        seen.append((refusal, (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    ((refusal, has),) = seen
    assert has == (before if refusal else (os.SCHED_RR, 7))
    assert (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority) == before


def test_a_priority_that_does_not_exist_is_refused_with_the_reason() -> None:
    assert take_precedence(1000) == "Invalid argument"
