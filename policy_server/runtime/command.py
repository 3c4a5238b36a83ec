"""How every command ends: one line for an error that the user can mend, a clean exit on Ctrl-C."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from policy_server.runtime.errors import PolicyError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


def run_command(main: Callable[[], int]) -> int:
    """Run ``main``; returns its exit status, 2 after a PolicyError (printed as one line), 130 after Ctrl-C."""
    try:
        return main()
    except PolicyError as error:
        _print_error(error)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Within, SIGINT and SIGTERM only raise a flag, so that long work can end in good order; what is given tells whether it is up."""
    raised = threading.Event()
    kept = {number: signal.signal(number, lambda *_: raised.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield raised.is_set
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _print_error(error: BaseException) -> None:
    print(f"error: {error}", file=sys.stderr)


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, PolicyError):
        _print_error(error)
    else:
        sys.__excepthook__(kind, error, trace)


# A library that is missing is found while a command's modules are imported, before ``run_command`` is reached.
sys.excepthook = _show
