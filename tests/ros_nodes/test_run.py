"""``python -m ros_nodes.start`` from start to end, as a user runs it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ros_nodes import topics
from ros_nodes.domain import refuse_domain_in_use
from ros_nodes.errors import DomainInUseError
from ros_nodes.graph import NodeSpec
from tests.ros_nodes.conftest import StartedNodes
from tests.ros_nodes.fake_robot import FakeRobot, Streaming

pytestmark = pytest.mark.ros

PATIENCE_S = 60.0


class Command:
    """The starter as a process, and everything that runs under it."""

    def __init__(self, domain_id: int, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ros_nodes.start", *arguments, f"domain_id={domain_id}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, list[str]]:
        """Exit status and all lines."""
        output, _ = self._process.communicate(timeout=PATIENCE_S)
        return self._process.returncode, output.splitlines()

    def children(self) -> list[int]:
        """Process ids of the nodes."""
        return [
            int(pid) for pid in Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        ]

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate(timeout=PATIENCE_S)


@pytest.fixture
def start_command(domain_id: int) -> Iterator[Callable[..., Command]]:
    commands: list[Command] = []

    def start(*arguments: str) -> Command:
        commands.append(Command(domain_id, *arguments))
        return commands[-1]

    yield start
    for command in commands:
        command.kill()


@pytest.fixture
def robot(domain_id: int) -> Iterator[FakeRobot]:
    robot = FakeRobot(domain_id)
    yield robot
    robot.close()


def running(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_cleanly(
    start_command: Callable[..., Command], robot: FakeRobot, bundle: Path, number: int
) -> None:
    command = start_command("robot", f"bundle={bundle}", "cameras=false")
    with Streaming(robot):
        robot.arm()
        robot.wait_for(lambda: robot.received[topics.ARM_TRAJECTORY], "the arm to move")
        pids = command.children()
        command.signal(number)
        status, lines = command.end()
    assert (status, len(pids)) == (0, 3)
    assert running(pids) == []
    assert not [line for line in lines if "Traceback" in line or "ERROR" in line]
    assert not any(robot.received[topics.ARM_TRAJECTORY][-1].points[-1].velocities)


def test_a_node_that_is_killed_takes_the_run_down_and_is_named(
    start_command: Callable[..., Command], robot: FakeRobot, bundle: Path
) -> None:
    command = start_command("robot", f"bundle={bundle}", "cameras=false")
    with Streaming(robot):
        robot.arm()
        robot.wait_for(lambda: robot.received[topics.ARM_TRAJECTORY], "the arm to move")
        pids = command.children()
        victim = next(pid for pid in pids if b"inference_node" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(victim, signal.SIGKILL)
        status, lines = command.end()
    assert status == 1
    assert lines[-1].startswith("the run ended because inference_node was ended by SIGKILL")
    assert running(pids) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ("robot", "bundle=/nowhere", "cameras=false"),
            r"the run ended because \w+_node ended with status 2: no bundle at '/nowhere'",
        ),
        (("robot", "bundle=/x", "camera=false"), "unknown key 'camera'; did you mean 'cameras'"),
        (("sim", "bundle=/x", "task=reach_cued", "clock=lockstop"), "'clock': .*'lockstep' or 'real'"),
        (("sim", "bundle=/x", "task=reach_cued", "episodes=0"), "episodes is 0"),
        (("simulation",), "no scenario 'simulation': write 'sim' or 'robot'"),
        (("robot", "bundle=/x", "nodes_file=/nowhere.yaml"), "no file '/nowhere.yaml'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_run_that_cannot_work_ends_with_one_line_that_says_why(
    start_command: Callable[..., Command], arguments: tuple[str, ...], complaint: str
) -> None:
    status, lines = start_command(*arguments).end()
    assert status != 0
    assert re.search(complaint, lines[-1])
    assert not any("Traceback" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("/**/history_node:\n  ros__parameters:\n    thread: 1\n", "no parameter 'thread'; did you mean 'threads'"),
        (
            "/**/histroy_node:\n  ros__parameters:\n    threads: 1\n",
            "no node 'histroy_node'.*did you mean 'history_node'",
        ),
    ],
    ids=["parameter", "node"],
)
def test_a_misspelt_key_in_the_parameters_file_is_named(
    start_command: Callable[..., Command], bundle: Path, tmp_path: Path, text: str, complaint: str
) -> None:
    file = tmp_path / "nodes.yaml"
    file.write_text(text)
    status, lines = start_command("robot", f"bundle={bundle}", "cameras=false", f"nodes_file={file}").end()
    assert status != 0
    assert re.search(complaint, lines[-1])


def test_a_second_graph_on_the_same_domain_is_refused(
    start_command: Callable[..., Command], robot: FakeRobot, domain_id: int, bundle: Path
) -> None:
    first = start_command("robot", f"bundle={bundle}", "cameras=false")
    assert robot.state_of("history_node")
    status, lines = start_command("robot", f"bundle={bundle}", "cameras=false").end()
    assert status == 2
    assert lines[-1].startswith(f"error: domain {domain_id} is in use: another graph runs on it")
    first.signal(signal.SIGINT)
    assert first.end()[0] == 0


def test_nodes_that_were_started_by_other_means_are_noticed(
    start_nodes: Callable[..., StartedNodes], domain_id: int, bundle: Path
) -> None:
    started = start_nodes(NodeSpec("history_node", "ros_nodes.history_node", parameters={"bundle": str(bundle)}))
    assert started.robot.state_of("history_node")
    with pytest.raises(DomainInUseError, match=f"domain {domain_id} is in use: history_node already run"):
        refuse_domain_in_use(domain_id, ["history_node", "arm_node"], wait_s=PATIENCE_S)
    refuse_domain_in_use(domain_id, ["arm_node"])
