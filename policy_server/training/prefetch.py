"""Prepares what the next training steps need while the present one is computed."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Prefetcher(Generic[T]):
    """Iterates over (step, ``make(step)``) for every step of a range, in order; a background thread stays ``ahead`` steps in front.

    An exception in ``make`` is raised where its step would have been given. ``waited_s`` is how long the consumer waited for the
    newest one. Use it as a context manager: leaving it ends the thread.
    """

    def __init__(self, make: Callable[[int], T], steps: range, ahead: int = 3) -> None:
        self.waited_s = 0.0
        self._make, self._steps = make, steps
        self._ready: queue.Queue[Callable[[], T]] = queue.Queue(ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Prefetcher[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        while self._thread.is_alive():  # it may stand before a full queue
            try:
                self._ready.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)

    def __iter__(self) -> Iterator[tuple[int, T]]:
        for step in self._steps:
            begun = time.perf_counter()
            give = self._ready.get()
            self.waited_s = time.perf_counter() - begun
            yield step, give()

    def _work(self) -> None:
        for step in self._steps:
            if self._closed.is_set():
                return
            try:
                made = self._make(step)
            except BaseException as error:  # the consumer must hear of it, whatever it is
                self._ready.put(_raising(error))
                return
            self._ready.put(lambda made=made: made)  # type: ignore[misc]


def _raising(error: BaseException) -> Callable[[], Any]:
    def give() -> Any:
        raise error

    return give
