"""How every command ends: one line for an error that the user can mend, a clean exit on Ctrl-C."""

import sys
from collections.abc import Callable

from policy_server.runtime.errors import PolicyError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


def run_command(main: Callable[[], int]) -> int:
    """Run ``main``; returns its exit status, 2 after a PolicyError (printed as one line), 130 after Ctrl-C."""
    try:
        return main()
    except PolicyError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
