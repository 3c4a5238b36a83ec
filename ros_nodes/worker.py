"""A node's worker thread: callbacks hand over data and wake it; it does the work."""

import threading
from collections.abc import Callable


class Worker:
    """Calls ``step`` whenever it is woken, and after as many seconds as the last ``step`` asked for.

    An exception out of ``step`` ends the thread and goes to ``on_error``. ``prepare`` is called first, in the thread.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], float | None],
        on_error: Callable[[Exception], None],
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._prepare = prepare
        self._step = step
        self._on_error = on_error
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Run ``step`` as soon as possible; several wakes before it runs count as one."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread after the step in progress; returns when it has ended."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        self._prepare()
        pause_s: float | None = None
        while True:
            self._wake.wait(pause_s)
            self._wake.clear()
            if self._stopping:
                return
            try:
                pause_s = self._step()
            except Exception as error:
                self._on_error(error)
                return
