"""How every command ends: one line for an error that the user can mend, a clean exit on Ctrl-C."""

import sys
from collections.abc import Callable
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


def _print_error(error: BaseException) -> None:
    print(f"error: {error}", file=sys.stderr)


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, PolicyError):
        _print_error(error)
    else:
        sys.__excepthook__(kind, error, trace)


# A library that is missing is found while a command's modules are imported, before ``run_command`` is reached.
sys.excepthook = _show
