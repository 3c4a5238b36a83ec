"""Message packages that a robot's own driver brings: used where they are installed, not required."""

import importlib
from typing import Any


def optional_messages(module: str) -> Any:
    """The module of that name, e.g. ``franka_msgs.msg``; None where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None
