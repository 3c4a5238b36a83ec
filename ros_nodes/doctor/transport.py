"""Fast DDS's transports: which profile is in force, whether a picture fits into its shared memory, what it binds."""

import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

from policy_server.runtime.errors import PolicyError
from ros_nodes.doctor.finding import Finding, fail, ok, skip, warn
from ros_nodes.environment import graph_environment

_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
_DEFAULT_SEGMENT_BYTES = 512 * 1024
_PICTURES_WANTED = 4
_SHARED_MEMORY_WANTED_BYTES = 128 * 1024 * 1024
_OURS = "unset it, and the starters set config/fastdds_profile.xml"


def check_transport(
    environment: Mapping[str, str], picture_bytes: int, shared_memory: Path = Path("/dev/shm")
) -> list[Finding]:
    """``environment`` is the user's own; ``picture_bytes`` the size of the largest picture that is sent."""
    if (
        environment.get("RMW_IMPLEMENTATION", "").startswith("rmw_")
        and "fastrtps" not in environment["RMW_IMPLEMENTATION"]
    ):
        return [skip("DDS profile", f"{environment['RMW_IMPLEMENTATION']} does not read it")]
    in_force, profile = _profile_in_force(environment)
    findings = [in_force]
    if profile is not None:
        findings += _inside(profile, picture_bytes)
    return [*findings, _shared_memory(shared_memory)]


def _profile_in_force(environment: Mapping[str, str]) -> tuple[Finding, Path | None]:
    """The finding, and the profile's path where one is in force."""
    name = "DDS profile"
    try:
        unset = {key: value for key, value in environment.items() if key not in _VARIABLES}
        ours = {key: value for key, value in graph_environment(0, unset).items() if key in _VARIABLES}
    except PolicyError as error:
        return fail(name, "ours is not installed", str(error)), None
    ((variable, our_path),) = ours.items()
    other = next(candidate for candidate in _VARIABLES if candidate != variable)
    chosen = environment.get(variable)
    if chosen is None and other in environment:
        return fail(
            name, f"{other} is set, which this Fast DDS does not read", f"set {variable} instead, or {_OURS}"
        ), None
    if chosen is None:
        return ok(name, f"{our_path}, set by the starters ({variable} is unset)"), Path(our_path)
    if not Path(chosen).is_file():
        return fail(name, f"{variable} names '{chosen}', which is no file", f"correct it, or {_OURS}"), None
    return ok(name, f"{chosen}, chosen with {variable}"), Path(chosen)


def _inside(profile: Path, picture_bytes: int) -> list[Finding]:
    try:
        root = ElementTree.parse(profile).getroot()
    except ElementTree.ParseError as error:
        return [fail("DDS profile's content", f"not XML: {error}", _OURS)]
    return [_segment(root, picture_bytes), _interfaces(root)]


def _segment(root: ElementTree.Element, picture_bytes: int) -> Finding:
    name = "shared-memory segment"
    segments = [_segment_bytes(transport) for transport in _transports(root, "SHM")]
    size = min(segments, default=_DEFAULT_SEGMENT_BYTES)
    found = f"{size / 1024:.0f} KiB for pictures of {picture_bytes / 1024:.0f} KiB"
    mend = f"set <segment_size> to {max(8 * 1024 * 1024, _PICTURES_WANTED * picture_bytes)} or more in the profile"
    if size < picture_bytes:
        return fail(name, f"{found}: nearly every picture is lost", mend)
    return ok(name, found) if size >= _PICTURES_WANTED * picture_bytes else warn(name, found, mend)


def _interfaces(root: ElementTree.Element) -> Finding:
    name = "network interfaces of DDS"
    builtin = [element.text or "" for element in root.iter() if _tag(element) == "useBuiltinTransports"]
    addresses = {
        (element.text or "").strip()
        for transport in _transports(root, "UDPv4")
        for element in transport.iter()
        if _tag(element) == "address"
    }
    if addresses == {"127.0.0.1"} and "false" in builtin:
        return ok(name, "127.0.0.1 alone")
    return warn(
        name,
        ", ".join(sorted(addresses)) if addresses and "false" in builtin else "every one",
        "right only where the controllers run on another computer; everybody on that network can then move the arm: keep it its own",
    )


def _transports(root: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    descriptors = [element for element in root.iter() if _tag(element) == "transport_descriptor"]
    return [each for each in descriptors if any(_tag(e) == "type" and (e.text or "").strip() == kind for e in each)]


def _segment_bytes(transport: ElementTree.Element) -> int:
    sizes = [element.text for element in transport if _tag(element) == "segment_size"]
    return int(sizes[0]) if sizes and sizes[0] and sizes[0].strip().isdecimal() else _DEFAULT_SEGMENT_BYTES


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def _shared_memory(folder: Path) -> Finding:
    name = "shared memory"
    if not folder.is_dir():
        return fail(name, f"no {folder}", "mount a tmpfs there; Fast DDS sends pictures through it")
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**20:.0f} MiB free in {folder}"
    if free >= _SHARED_MEMORY_WANTED_BYTES:
        return ok(name, found)
    return warn(name, found, "each process takes a segment of it: in a container raise --shm-size to 512m")
