"""The parameters that each of our nodes declares, for the check of the nodes file."""

import importlib
import importlib.util

from ros_nodes.start import KNOWN_NODES

_BY_EVERY_NODE = ("autostart", "exit_on_error", "use_sim_time")


def known_parameters() -> dict[str, tuple[str, ...]]:
    """Node name -> its parameters; () for a node of another package, whose table is not ours to read."""
    return {name: _declared(name) for name in sorted(KNOWN_NODES)}


def _declared(name: str) -> tuple[str, ...]:
    module = f"ros_nodes.{name}"
    if importlib.util.find_spec(module) is None:
        return ()
    return (*(spec.name for spec in importlib.import_module(module).PARAMETERS), *_BY_EVERY_NODE)
