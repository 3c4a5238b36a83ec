"""Where the files that ship with the package lie: in the checkout, or under ``share/`` of an installation."""

import sys
from pathlib import Path

from policy_server.runtime.errors import ConfigurationError

_CHECKOUT = Path(__file__).parents[2]
_SHARE = Path("share/long_context_policy")


def resource(relative: str | Path) -> Path:
    """The path of a shipped file or folder, e.g. ``config/arm.yaml``.

    Looked for in the checkout, beside the installed package (colcon's prefix), and in the Python environment.

    Raises:
        ConfigurationError: it is in none of them.
    """
    prefixes = [parent / _SHARE for parent in Path(__file__).parents]
    candidates = [
        _CHECKOUT / relative,
        *(prefix / relative for prefix in prefixes),
        Path(sys.prefix) / _SHARE / relative,
    ]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise ConfigurationError(
        f"'{relative}' is neither in {_CHECKOUT} nor under {sys.prefix}/{_SHARE}: install the package again"
    )
