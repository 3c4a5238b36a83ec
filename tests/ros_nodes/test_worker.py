"""The worker thread: works when woken, comes back when asked to, and hands errors on."""

import queue
import threading

from ros_nodes.worker import Worker

PATIENCE_S = 10.0


def test_it_works_when_woken() -> None:
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    worker = Worker("w", lambda: done.put(1), on_error=lambda _: None)
    worker.start()
    worker.wake()
    assert done.get(timeout=PATIENCE_S) == 1
    worker.stop()
    assert done.empty()


def test_it_comes_back_by_itself_when_the_step_asks_for_it() -> None:
    done: queue.SimpleQueue[int] = queue.SimpleQueue()

    def step() -> float:
        done.put(1)
        return 0.001

    worker = Worker("w", step, on_error=lambda _: None)
    worker.start()
    worker.wake()
    for _ in range(3):
        done.get(timeout=PATIENCE_S)
    worker.stop()


def test_an_error_ends_the_thread_and_is_handed_on() -> None:
    errors: queue.SimpleQueue[Exception] = queue.SimpleQueue()

    def step() -> None:
        raise ValueError("broken")

    worker = Worker("w", step, on_error=errors.put)
    worker.start()
    worker.wake()
    assert str(errors.get(timeout=PATIENCE_S)) == "broken"
    worker.stop()


def test_stopping_from_its_own_thread_does_not_lock_up() -> None:
    stopped = threading.Event()

    def step() -> None:
        worker.stop()
        stopped.set()

    worker = Worker("w", step, on_error=lambda _: None)
    worker.start()
    worker.wake()
    assert stopped.wait(PATIENCE_S)


def test_a_worker_that_never_started_can_be_stopped() -> None:
    Worker("w", lambda: None, on_error=lambda _: None).stop()


def test_it_is_prepared_once_in_its_thread_before_the_first_step() -> None:
    done: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()

    def note(what: str) -> None:
        done.put((what, threading.get_ident()))

    worker = Worker("w", lambda: note("step"), on_error=lambda _: None, prepare=lambda: note("prepared"))
    worker.start()
    seen = [done.get(timeout=PATIENCE_S)]
    for _ in range(2):
        worker.wake()
        seen.append(done.get(timeout=PATIENCE_S))
    worker.stop()
    assert [what for what, _ in seen] == ["prepared", "step", "step"]
    assert threading.get_ident() not in {ident for _, ident in seen}
