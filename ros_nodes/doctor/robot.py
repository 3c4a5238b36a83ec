"""The robot itself: is it reachable, does its version go with the libfranka that is installed, do its packets arrive?

Versions: Franka's compatibility matrix (frankarobotics.github.io/docs, "Compatibility").
"""

import importlib.metadata
import re
import socket
from dataclasses import dataclass

from ros_nodes.doctor.fci import FCI_PORT, HAND_PORT, FciAnswer, FciError, answers, shake_hands
from ros_nodes.doctor.finding import Finding, fail, fail_with, ok, skip, warn
from ros_nodes.doctor.system import System

_SLOW_CONNECT_MS = 2.0
_LISTEN_S = 1.0
_ESTABLISHED = "01"


@dataclass(frozen=True)
class Generation:
    """Robots whose control interface has one server version: their system version, and the libfranka that goes with them."""

    server_version: int
    system: str
    oldest_libfranka: tuple[int, int, int]
    libfranka: str


GENERATIONS = (
    Generation(10, "5.9.0 or newer", (0, 18, 0), "0.18.0 or newer"),
    Generation(9, "5.7.2 to 5.8", (0, 15, 0), "0.15.0 to 0.17"),
    Generation(8, "5.7.0 to 5.7.1", (0, 14, 1), "0.14.1 to 0.14.2"),
    Generation(7, "5.5.0 to 5.6", (0, 13, 3), "0.13.3 to 0.14.0"),
    Generation(6, "5.2.0 to 5.4", (0, 10, 0), "0.10.0 to 0.13.2"),
    Generation(5, "4.2.1 or newer (Panda / FER)", (0, 9, 1), "0.9.1 to 0.9.2"),
    Generation(4, "4.0.0 to 4.2.0 (Panda / FER)", (0, 8, 0), "0.8.0 to 0.9.0"),
    Generation(3, "3.0.0 to 3.1 (Panda / FER)", (0, 7, 1), "0.7.1"),
)


def installed_libfranka() -> tuple[int, int, int] | None:
    """The libfranka inside the franky package of this environment; None without it."""
    try:
        files = importlib.metadata.files("franky-control") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        match = re.search(r"libfranka\S*\.so\.(\d+)\.(\d+)\.(\d+)$", file.name)
        if match:
            major, minor, patch = (int(group) for group in match.groups())
            return major, minor, patch
    return None


def generation_of(libfranka: tuple[int, int, int]) -> Generation | None:
    """The robots that this libfranka talks to; None for one that is older than all of them."""
    return next((each for each in GENERATIONS if libfranka >= each.oldest_libfranka), None)


def check_robot(
    address: str,
    libfranka: tuple[int, int, int] | None,
    system: System,
    *,
    hand: bool = True,
    port: int = FCI_PORT,
    hand_port: int = HAND_PORT,
    listen_s: float = _LISTEN_S,
) -> list[Finding]:
    """``libfranka``: the version that is installed here; without one only the network is looked at. ``hand``: one is mounted."""
    name = "robot"
    if not address:
        return [skip(name, "no address was given", "--robot ADDRESS, when this machine talks to the arm itself")]
    if _is_connected(system, address, port):
        mend = "a controller or driver holds the robot: its own log says the version"
        return [skip(name, f"this machine is connected to {address}:{port} already", mend)]
    generation = generation_of(libfranka) if libfranka else None
    if generation is None:
        return [_only_reachable(address, port), *_hand(address, hand_port, hand)]
    try:
        answer = shake_hands(address, generation.server_version, listen_s, port)
    except FciError as error:
        return [fail_with(name, error)]
    assert libfranka is not None
    return [
        check_way(address, answer.connect_ms),
        *judge_answer(answer, libfranka, generation, listen_s),
        *_hand(address, hand_port, hand),
    ]


def _only_reachable(address: str, port: int) -> Finding:
    if answers(address, port):
        mend = "its version is read only with franky: pip install -c constraints.txt '.[robot]'; or see Desk, Settings, System"
        return warn("robot", f"{address} takes connections on port {port}", mend)
    return fail(
        "robot",
        f"{address} does not answer on port {port}",
        "power, subnet, cable in Control's LAN port; open the brakes and activate FCI in Desk",
    )


def check_way(address: str, connect_ms: float) -> Finding:
    """How long a TCP connection took: a switch or a wireless link shows in it."""
    found = f"{address}, connected in {connect_ms:.2f} ms"
    if connect_ms <= _SLOW_CONNECT_MS:
        return ok("robot", found)
    return warn("robot", found, "a direct cable takes less than 1 ms: no switch, no USB adapter, no wireless between")


def judge_answer(
    answer: FciAnswer, libfranka: tuple[int, int, int], generation: Generation, listen_s: float
) -> list[Finding]:
    """Version and packets of a robot that answered a client of ``generation``, after ``listen_s`` of listening."""
    name = "robot's version"
    installed = ".".join(str(part) for part in libfranka)
    if not answer.accepted:
        theirs = next((each for each in GENERATIONS if each.server_version == answer.server_version), None)
        known = f"system {theirs.system}, wants libfranka {theirs.libfranka}" if theirs else "not in our table"
        return [
            fail(
                name,
                f"server version {answer.server_version} ({known}); here is libfranka {installed}",
                f"install franky for server version {answer.server_version} (its FAQ, 'server version mismatch'), or update the robot "
                f"to {generation.system}",
            )
        ]
    found = f"server version {answer.server_version} (system {generation.system}) goes with libfranka {installed}"
    return [ok(name, found), _packets(answer, listen_s)]


def _packets(answer: FciAnswer, listen_s: float) -> Finding:
    """1000 states a second; a robot whose states are lost loses commands too."""
    name, states = "robot's packets", answer.states
    if states is None or states.received == 0:
        return fail(
            name,
            f"no robot state in {listen_s:g} s",
            "a firewall drops UDP from the robot: sudo ufw allow from its address",
        )
    found = (
        f"{states.received} states in {listen_s:g} s, {states.lost} lost, longest gap {states.longest_gap_ms:.1f} ms"
    )
    mend = "direct cable, wired port, no power saving on the network card; real-time kernel; Franka's communication_test says more"
    if states.lost > 0 or states.received < 950 * listen_s:
        return fail(name, found, mend)
    return ok(name, found) if states.longest_gap_ms <= 5.0 else warn(name, found, mend)


def _hand(address: str, port: int, wanted: bool) -> list[Finding]:
    if not wanted:
        return []
    if answers(address, port):
        return [ok("hand", f"{address} takes connections on port {port}")]
    mend = "initialise it in Desk (Settings, End Effector); hand=false where none is mounted"
    return [fail("hand", f"{address} does not answer on port {port}", mend)]


def _is_connected(system: System, address: str, port: int) -> bool:
    """Whether a program on this machine has an open TCP connection there."""
    try:
        wanted = socket.gethostbyname(address)
    except OSError:
        return False
    return (wanted, port) in _connections(system)


def _connections(system: System) -> set[tuple[str, int]]:
    """Far ends of this machine's open TCP connections; proc/net gives address and port in hexadecimal, IPv4 bytes reversed."""
    ends = set()
    for line in f"{system.read('proc/net/tcp') or ''}\n{system.read('proc/net/tcp6') or ''}".splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[3] == _ESTABLISHED and ":" in fields[2]:
            address, _, port = fields[2].rpartition(":")
            # An IPv4 connection of an IPv6 socket has the address in its last four bytes.
            ends.add((socket.inet_ntoa(bytes.fromhex(address[-8:])[::-1]), int(port, 16)))
    return ends
