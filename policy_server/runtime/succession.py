"""Whether one bundle may take over from another while the policy runs."""

from collections.abc import Iterable

from policy_server.runtime.bundle import Bundle
from policy_server.runtime.errors import BundleError
from policy_server.runtime.manifest import CameraSpec, PolicySpec


def check_succession(running: Bundle, new: Bundle) -> None:
    """Refuse a bundle that sees, moves or does something else than the running one. Encoder, memory, chunk and weights are free.

    Raises:
        BundleError: it is the running one, or task, rate, cameras (names, order, source sizes), joints or features differ; names
            each with both values.
    """
    if new.hash == running.hash:
        raise BundleError(f"bundle '{new.path}' is the one that runs ({new.hash[:12]}): give another one")
    differences = _differences(running.spec, new.spec)
    if differences:
        raise BundleError(
            f"bundle '{new.path}' cannot take over from '{running.path}': {'; '.join(differences)}; start the graph anew with it"
        )


def _differences(running: PolicySpec, new: PolicySpec) -> list[str]:
    pairs = {
        "task": (running.task, new.task),
        "rate": (f"{running.rate_hz:g} Hz", f"{new.rate_hz:g} Hz"),
        "cameras": (_listed(map(_seen, running.cameras)), _listed(map(_seen, new.cameras))),
        "joints seen": (_listed(running.proprioception_joints), _listed(new.proprioception_joints)),
        "features seen": (_listed(running.features), _listed(new.features)),
        "joints moved": (_listed(running.action.joints), _listed(new.action.joints)),
    }
    return [f"{what} {after} instead of {before}" for what, (before, after) in pairs.items() if before != after]


def _seen(camera: CameraSpec) -> str:
    return f"{camera.name} {camera.source_width} x {camera.source_height}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
