"""A robot's control interface on 127.0.0.1, as far as the handshake and its stream of states."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Manner:
    """How it answers.

    Attributes:
        server_version: its own; every other one that a client offers is refused.
        state_numbers: numbers of the robot states that it sends after the handshake.
        answer: bytes to send in place of an answer; None answers properly.
    """

    server_version: int = 10
    state_numbers: tuple[int, ...] = tuple(range(100, 120))
    answer: bytes | None = None


@contextlib.contextmanager
def fake_fci(manner: Manner) -> Iterator[int]:
    """Serves one client after the other; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server, manner), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(2.0)


def _serve(server: socket.socket, manner: Manner) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        with client, contextlib.suppress(OSError):
            client.settimeout(2.0)
            _answer(client, manner)


def _answer(client: socket.socket, manner: Manner) -> None:
    request = client.recv(64)
    if len(request) < 16:
        return
    command, number, size, version, udp_port = struct.unpack("<IIIHH", request)
    if manner.answer is not None:
        client.sendall(manner.answer)
        return
    accepted = version == manner.server_version and command == 0 and size == 16
    client.sendall(struct.pack("<IIIBH", 0, number, 15, 0 if accepted else 1, manner.server_version))
    if accepted:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as states:
            for state in manner.state_numbers:
                states.sendto(struct.pack("<Q", state) + bytes(100), (client.getpeername()[0], udp_port))
    client.recv(1)
