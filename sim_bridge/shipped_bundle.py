"""The bundle that ships with the package for a task."""

from pathlib import Path

from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.resources import resource


def shipped_bundle(task: str) -> Path:
    """Its folder. Raises ConfigurationError where none ships."""
    try:
        return resource(f"bundles/{task}")
    except ConfigurationError:
        raise ConfigurationError(
            f"no bundle for '{task}' ships with the package: train one and pass it with --bundle"
        ) from None
