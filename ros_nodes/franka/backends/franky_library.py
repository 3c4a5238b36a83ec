"""The franky package, where it is installed."""

from typing import Any

from ros_nodes.franka.backends.backend import BackendMissingError


def franky_library() -> Any:
    """The module ``franky``. Raises BackendMissingError when it is not installed."""
    try:
        import franky
    except ImportError as error:
        raise BackendMissingError(
            f"the franky backend needs franky-control: pip install 'long_context_policy[robot]' ({error})"
        ) from None
    return franky


def error_names(errors: Any) -> tuple[str, ...]:
    """The flags that are set in franky's ``Errors``, by name."""
    names = (name for name in dir(errors) if not name.startswith("_"))
    return tuple(name for name in names if getattr(errors, name) is True)


def one_line(error: Exception) -> str:
    """What an exception of franky says, without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
