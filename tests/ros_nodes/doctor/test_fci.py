"""The handshake with a robot, against a server on 127.0.0.1 that speaks it."""

import socket

import pytest

from ros_nodes.doctor.fci import FciError, answers, shake_hands
from tests.ros_nodes.doctor.fake_fci import Manner, fake_fci

LISTEN_S = 0.4


def test_a_robot_of_the_same_version_accepts_and_sends_its_states() -> None:
    with fake_fci(Manner(server_version=10)) as port:
        answer = shake_hands("127.0.0.1", 10, LISTEN_S, port)
    assert answer.accepted and answer.server_version == 10
    assert answer.states is not None and (answer.states.received, answer.states.lost) == (20, 0)


def test_states_that_do_not_arrive_are_counted_by_their_numbers() -> None:
    with fake_fci(Manner(state_numbers=(7, 8, 11, 12, 13))) as port:
        states = shake_hands("127.0.0.1", 10, LISTEN_S, port).states
    assert states is not None and (states.received, states.lost) == (5, 2)


def test_a_robot_of_another_version_refuses_and_says_its_own() -> None:
    with fake_fci(Manner(server_version=5)) as port:
        answer = shake_hands("127.0.0.1", 10, LISTEN_S, port)
    assert not answer.accepted and answer.server_version == 5 and answer.states is None


def test_a_silent_robot_sends_no_state() -> None:
    with fake_fci(Manner(state_numbers=())) as port:
        states = shake_hands("127.0.0.1", 10, LISTEN_S, port).states
    assert states is not None and states.received == 0


@pytest.mark.parametrize(
    ("answer", "message"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "not as a Franka"), (b"", "end the robot's other client")],
    ids=["another-server", "closes-at-once"],
)
def test_something_else_that_answers_is_told(answer: bytes, message: str) -> None:
    with fake_fci(Manner(answer=answer)) as port, pytest.raises(FciError, match=message):
        shake_hands("127.0.0.1", 10, LISTEN_S, port)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_refused_connection_points_to_the_activation_of_fci() -> None:
    with pytest.raises(FciError, match="activate FCI in Desk"):
        shake_hands("127.0.0.1", 10, LISTEN_S, free_port())


def test_a_server_that_never_answers_is_given_up() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(FciError, match="does not answer the handshake"),
    ):
        shake_hands("127.0.0.1", 10, LISTEN_S, server.getsockname()[1], timeout_s=0.1)


def test_whether_somebody_listens_at_a_port() -> None:
    with fake_fci(Manner()) as port:
        assert answers("127.0.0.1", port)
    assert not answers("127.0.0.1", free_port())
