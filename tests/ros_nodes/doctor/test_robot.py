"""The robot's reachability and version, against a server that speaks the handshake."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ros_nodes.doctor.fci import FciAnswer, StateStream
from ros_nodes.doctor.finding import Finding, Level
from ros_nodes.doctor.robot import GENERATIONS, check_robot, check_way, generation_of, installed_libfranka, judge_answer
from ros_nodes.doctor.system import System
from tests.ros_nodes.doctor.fake_fci import Manner, fake_fci

LIBFRANKA = (0, 21, 2)


@pytest.fixture
def hand() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def found(
    manner: Manner, hand_port: int, root: Path, libfranka: tuple[int, int, int] | None = LIBFRANKA
) -> dict[str, Finding]:
    with fake_fci(manner) as port:
        findings = check_robot("127.0.0.1", libfranka, System(root), port=port, hand_port=hand_port, listen_s=0.2)
    return {finding.name: finding for finding in findings}


def test_a_robot_that_fits_passes(hand: int, tmp_path: Path) -> None:
    findings = found(Manner(), hand, tmp_path)
    assert findings["robot's version"].level == Level.OK and "0.21.2" in findings["robot's version"].found
    assert "robot's packets" in findings
    assert findings["hand"].level == Level.OK


def test_a_panda_is_told_which_libfranka_it_wants(hand: int, tmp_path: Path) -> None:
    findings = found(Manner(server_version=5), hand, tmp_path)
    version = findings["robot's version"]
    assert (
        version.level == Level.FAIL
        and "libfranka 0.9.1 to 0.9.2" in version.found
        and "server version 5" in version.mend
    )
    assert "robot's packets" not in findings


@pytest.mark.parametrize(
    ("states", "level", "mend"),
    [
        (StateStream(1000, 0, 1.4), Level.OK, ""),
        (StateStream(1000, 0, 9.0), Level.WARN, "direct cable"),
        (StateStream(998, 2, 2.0), Level.FAIL, "direct cable"),
        (StateStream(700, 0, 2.0), Level.FAIL, "direct cable"),
        (StateStream(0, 0, 1000.0), Level.FAIL, "firewall"),
    ],
    ids=["even", "gap", "lost", "slow", "silent"],
)
def test_a_robots_packets_are_judged(states: StateStream, level: Level, mend: str) -> None:
    answer = FciAnswer(0.2, 10, accepted=True, states=states)
    version, packets = judge_answer(answer, LIBFRANKA, GENERATIONS[0], listen_s=1.0)
    assert (version.level, packets.level) == (Level.OK, level) and mend in packets.mend


def test_a_slow_way_to_the_robot_warns() -> None:
    assert check_way("172.16.0.2", 0.3).level == Level.OK
    assert check_way("172.16.0.2", 12.0).level == Level.WARN


def test_without_franky_only_the_network_is_looked_at(hand: int, tmp_path: Path) -> None:
    findings = found(Manner(), hand, tmp_path, libfranka=None)
    assert findings["robot"].level == Level.WARN and "robot's version" not in findings


def test_a_hand_that_does_not_answer_fails_unless_none_is_mounted(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free_port = server.getsockname()[1]
    assert found(Manner(), free_port, tmp_path)["hand"].level == Level.FAIL
    with fake_fci(Manner()) as port:
        bare = check_robot("127.0.0.1", None, System(tmp_path), hand=False, port=port, hand_port=free_port)
    assert [finding.name for finding in bare] == ["robot"]


def test_a_robot_that_is_off_fails(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free_port = server.getsockname()[1]
    (finding,) = check_robot("127.0.0.1", LIBFRANKA, System(tmp_path), port=free_port)
    assert finding.level == Level.FAIL and f"refuses port {free_port}" in finding.found


CONNECTIONS = """  sl  local_address rem_address   st
   0: 0100007F:1F90 00000000:0000 0A 0 0
   1: 010010AC:C350 020010AC:0539 {state} 0 0
"""


def machine_with(connections: str, root: Path, name: str = "tcp") -> System:
    (root / "proc/net").mkdir(parents=True, exist_ok=True)
    (root / "proc/net" / name).write_text(connections, encoding="utf-8")
    return System(root)


def test_a_robot_that_somebody_drives_is_left_alone(tmp_path: Path) -> None:
    (finding,) = check_robot("172.16.0.2", LIBFRANKA, machine_with(CONNECTIONS.format(state="01"), tmp_path))
    assert finding.level == Level.SKIP and "172.16.0.2:1337" in finding.found


def test_a_driver_that_holds_it_through_ipv6_is_seen_too(tmp_path: Path) -> None:
    mapped = CONNECTIONS.format(state="01").replace("020010AC:0539", "0000000000000000FFFF0000020010AC:0539")
    (finding,) = check_robot("172.16.0.2", LIBFRANKA, machine_with(mapped, tmp_path, "tcp6"))
    assert finding.level == Level.SKIP


def test_the_connection_to_another_robot_does_not_matter(tmp_path: Path, hand: int) -> None:
    system = machine_with(CONNECTIONS.format(state="01"), tmp_path)
    with fake_fci(Manner()) as port:
        findings = check_robot("127.0.0.1", LIBFRANKA, system, port=port, hand_port=hand, listen_s=0.1)
    assert "robot's version" in {finding.name for finding in findings}


def test_a_connection_that_is_closed_does_not_matter(tmp_path: Path, hand: int) -> None:
    with fake_fci(Manner()) as port:
        closed = CONNECTIONS.format(state="06").replace("020010AC:0539", f"0100007F:{port:04X}")
        system = machine_with(closed, tmp_path)
        findings = check_robot("127.0.0.1", LIBFRANKA, system, port=port, hand_port=hand, listen_s=0.1)
    assert "robot's version" in {finding.name for finding in findings}


def test_without_an_address_nothing_is_touched(tmp_path: Path) -> None:
    assert check_robot("", LIBFRANKA, System(tmp_path))[0].level == Level.SKIP


@pytest.mark.parametrize(
    ("libfranka", "server_version"),
    [
        ((0, 21, 2), 10),
        ((0, 18, 0), 10),
        ((0, 17, 0), 9),
        ((0, 14, 0), 7),
        ((0, 13, 2), 6),
        ((0, 9, 2), 5),
        ((0, 1, 0), None),
    ],
)
def test_each_libfranka_has_its_robots(libfranka: tuple[int, int, int], server_version: int | None) -> None:
    generation = generation_of(libfranka)
    assert (generation.server_version if generation else None) == server_version


def test_generations_are_told_newest_first() -> None:
    assert [each.oldest_libfranka for each in GENERATIONS] == sorted(
        (g.oldest_libfranka for g in GENERATIONS), reverse=True
    )


def test_the_libfranka_of_the_installed_franky_is_read_from_its_files() -> None:
    pytest.importorskip("franky", reason="franky-control is not installed: pip install 'long_context_policy[robot]'")
    version = installed_libfranka()
    assert version is not None and generation_of(version) is not None
