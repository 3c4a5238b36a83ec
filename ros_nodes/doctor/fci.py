"""Franka's control interface as far as a handshake: connect, say a version, hear the robot's, listen to its states. Moves nothing.

Packets as in libfranka (``research_interface/robot/service_types.h``), little-endian and packed: a header of command, id and
size (uint32 each), then version and UDP port (uint16 each); the answer is a header, a status (uint8) and the robot's version
(uint16). The port and the layout of these packets have been the same since server version 3.
"""

import contextlib
import itertools
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ros_nodes.errors import RosEnvironmentError

FCI_PORT = 1337
HAND_PORT = 1338

_HEADER = struct.Struct("<III")
_REQUEST = struct.Struct("<HH")
_ANSWER = struct.Struct("<BH")
_CONNECT = 0
_STATUS_OK, _STATUS_OTHER_VERSION = 0, 1
_MESSAGE_ID = struct.Struct("<Q")


class FciError(RosEnvironmentError):
    """The robot's control interface does not answer, or not as one; says what to do."""


@dataclass(frozen=True)
class StateStream:
    """Robot states that arrived by UDP: how many, how many of their numbers are missing, longest gap between two."""

    received: int
    lost: int
    longest_gap_ms: float


@dataclass(frozen=True)
class FciAnswer:
    """What the robot said. ``states`` is None when it refused the version, so that nothing was sent."""

    connect_ms: float
    server_version: int
    accepted: bool
    states: StateStream | None


def shake_hands(
    address: str, version: int, listen_s: float = 1.0, port: int = FCI_PORT, timeout_s: float = 2.0
) -> FciAnswer:
    """Connect, offer ``version``, listen to robot states for ``listen_s``, and leave.

    It takes the robot's one place for a client while it lasts.

    Raises:
        FciError: nobody answers, or the answer is not the control interface's.
    """
    with _connected(address, port, timeout_s) as (channel, connect_ms), _udp_socket(channel) as states:
        request_size = _HEADER.size + _REQUEST.size
        channel.sendall(_HEADER.pack(_CONNECT, 1, request_size) + _REQUEST.pack(version, states.getsockname()[1]))
        status, server_version = _read_answer(channel, address, port)
        accepted = status == _STATUS_OK
        return FciAnswer(connect_ms, server_version, accepted, _listen(states, listen_s) if accepted else None)


def answers(address: str, port: int, timeout_s: float = 2.0) -> bool:
    """Whether somebody takes a TCP connection there."""
    try:
        with _connected(address, port, timeout_s):
            return True
    except FciError:
        return False


@contextlib.contextmanager
def _connected(address: str, port: int, timeout_s: float) -> Iterator[tuple[socket.socket, float]]:
    try:
        # Names first: looking one up is not the network to the robot.
        target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][4]
        begun_s = time.monotonic()
        channel = socket.create_connection((str(target[0]), port), timeout_s)
        connect_ms = 1000.0 * (time.monotonic() - begun_s)
    except socket.gaierror:
        raise FciError(
            f"'{address}' is no address that is known: give the one that Desk shows under Settings, Network"
        ) from None
    except ConnectionRefusedError:
        raise FciError(
            f"{address} refuses port {port}: open the brakes and activate FCI in Desk, at this very address"
        ) from None
    except OSError as error:
        raise FciError(
            f"{address} does not answer on port {port} ({error}): check power, this machine's address in the robot's subnet, and the "
            "cable, which belongs into Control's LAN port"
        ) from None
    with channel:
        channel.settimeout(timeout_s)
        yield channel, connect_ms


@contextlib.contextmanager
def _udp_socket(channel: socket.socket) -> Iterator[socket.socket]:
    """A socket for the robot's states, on the interface that leads to it."""
    with socket.socket(channel.family, socket.SOCK_DGRAM) as states:
        states.bind((channel.getsockname()[0], 0))
        yield states


def _read_answer(channel: socket.socket, address: str, port: int) -> tuple[int, int]:
    try:
        command, _, size = _HEADER.unpack(_read_exactly(channel, _HEADER.size))
        status, version = _ANSWER.unpack(_read_exactly(channel, _ANSWER.size))
    except (OSError, EOFError) as error:
        reason = str(error) or "it closed the connection"
        raise FciError(
            f"{address}:{port} does not answer the handshake ({reason}): end the robot's other client, or wait a moment"
        ) from None
    known = (
        command == _CONNECT and size >= _HEADER.size + _ANSWER.size and status in (_STATUS_OK, _STATUS_OTHER_VERSION)
    )
    if not known:
        raise FciError(f"{address}:{port} answers, but not as a Franka: correct the address")
    return status, version


def _read_exactly(channel: socket.socket, count: int) -> bytes:
    read = b""
    while len(read) < count:
        more = channel.recv(count - len(read))
        if not more:
            raise EOFError
        read += more
    return read


def _listen(states: socket.socket, seconds: float) -> StateStream:
    """Count robot states; each begins with its number, which rises by one."""
    numbers: list[int] = []
    arrivals_s: list[float] = []
    ends_s = time.monotonic() + seconds
    while (left_s := ends_s - time.monotonic()) > 0:
        states.settimeout(left_s)
        try:
            packet = states.recv(65535)
        except OSError:
            break
        if len(packet) >= _MESSAGE_ID.size:
            numbers.append(_MESSAGE_ID.unpack_from(packet)[0])
            arrivals_s.append(time.monotonic())
    if not numbers:
        return StateStream(0, 0, 1000.0 * seconds)
    gaps_s = [after - before for before, after in itertools.pairwise(arrivals_s)]
    lost = max(numbers) - min(numbers) + 1 - len(set(numbers))
    return StateStream(len(numbers), lost, 1000.0 * max(gaps_s, default=0.0))
