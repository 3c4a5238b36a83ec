"""The starter: one dying process takes the run down and says why; ending leaves nothing behind."""

import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ros_nodes.graph import Graph, NodeSpec
from ros_nodes.start import EXIT_INTERRUPTED, EXIT_NODE_DIED, EXIT_OK, Outcome, RunningGraph, outcome_of

PATIENCE_S = 30.0

_PROGRAMS = {
    "patient": """
        import signal, time
        signal.signal(signal.SIGTERM, lambda *_: exit(0))
        print("up", flush=True)
        time.sleep(600)
    """,
    "stubborn": """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("up", flush=True)
        time.sleep(600)
    """,
    "parent": """
        import subprocess, sys, time
        program = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('child', flush=True); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-S", "-c", program])
        print(f"child {child.pid}", flush=True)
        time.sleep(600)
    """,
    "finished": "print('all done', flush=True)",
    "failing": """
        import sys
        print("[ERROR] [1700000000.5] [failing]: no bundle at '/x': give one", file=sys.stderr)
        print("some more words")
        sys.exit(2)
    """,
    "silent": "import sys; sys.exit(3)",
    "crashing": """
        import os, signal
        print("[ERROR] [crashing]: about to crash", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    """,
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    for name, text in _PROGRAMS.items():
        lines = text.strip("\n").split("\n")
        indent = len(lines[0]) - len(lines[0].lstrip())
        (folder / f"program_{name}.py").write_text("\n".join(line[indent:] for line in lines))
    return folder


class Run:
    """A graph of programs and what they printed."""

    def __init__(self, folder: Path, *names: str, ends_run: str = "") -> None:
        nodes = tuple(NodeSpec(name, f"program_{name}", ends_run=name == ends_run) for name in names)
        self.graph = Graph(nodes, 0, {"PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"})
        self.lines: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self.running = RunningGraph(self.graph, lambda name, line: self.lines.put((name, line)))

    def start_and_hear(self, count: int) -> list[tuple[str, str]]:
        """Start; the first lines of all nodes together."""
        self.running.start()
        return [self.lines.get(timeout=PATIENCE_S) for _ in range(count)]

    def to_the_end(self) -> Outcome:
        first = self.running.wait(PATIENCE_S)
        return outcome_of(self.graph, first, self.running.stop(grace_s=5.0))

    def pids(self) -> list[int]:
        return [process.pid for process in self.running.processes]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return condition()


def test_the_end_of_the_node_that_ends_the_run_ends_all(programs: Path) -> None:
    run = Run(programs, "patient", "finished", ends_run="finished")
    run.running.start()
    assert run.to_the_end() == Outcome(EXIT_OK)
    assert not any(is_alive(pid) for pid in run.pids())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("failing", "the run ended because failing ended with status 2: no bundle at '/x': give one"),
        ("silent", "the run ended because silent ended with status 3 without a word"),
        ("crashing", "the run ended because crashing was ended by SIGSEGV: about to crash"),
        ("finished", "the run ended because finished ended with status 0: all done"),
    ],
)
def test_a_node_that_dies_takes_the_run_down_and_says_why(programs: Path, name: str, reason: str) -> None:
    run = Run(programs, "patient", name)
    run.running.start()
    assert run.to_the_end() == Outcome(EXIT_NODE_DIED, reason)
    assert not any(is_alive(pid) for pid in run.pids())


def test_an_interrupted_run_ends_cleanly(programs: Path) -> None:
    run = Run(programs, "patient")
    assert run.start_and_hear(1) == [("patient", "up")]
    run.running.interrupt()
    assert run.to_the_end() == Outcome(EXIT_OK)
    assert run.running.processes[0].status == 0


def test_interrupting_a_run_that_has_an_end_is_not_success(programs: Path) -> None:
    run = Run(programs, "patient", ends_run="patient")
    run.start_and_hear(1)
    run.running.interrupt()
    assert run.to_the_end().status == EXIT_INTERRUPTED


def test_a_node_that_will_not_end_is_killed_and_named(programs: Path) -> None:
    run = Run(programs, "stubborn")
    run.start_and_hear(1)
    assert run.running.stop(grace_s=0.2) == ["stubborn did not end within 0.2 s and was killed"]
    assert not is_alive(run.pids()[0])


def test_what_a_node_started_ends_with_it(programs: Path) -> None:
    run = Run(programs, "parent")
    lines = [line for _, line in run.start_and_hear(2)]
    grandchild = int(next(line for line in lines if line != "child").split()[1])
    assert is_alive(grandchild)
    run.running.stop(grace_s=5.0)
    assert wait_until(lambda: not is_alive(grandchild))


def test_a_node_that_cannot_be_started_leaves_none_running(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(programs, "patient", "finished")
    monkeypatch.setattr("ros_nodes.start.command_line", _second_command_is_missing())
    with pytest.raises(FileNotFoundError):
        run.running.start()
    assert not any(is_alive(pid) for pid in run.pids())


def _second_command_is_missing() -> Callable[[NodeSpec], list[str]]:
    commands = iter([[sys.executable, "-m", "program_patient"], ["/no/such/program"]])
    return lambda _: next(commands)


def test_nodes_do_not_outlive_a_killed_starter(programs: Path) -> None:
    program = (
        "import time\n"
        "from ros_nodes.graph import Graph, NodeSpec\n"
        "from ros_nodes.start import RunningGraph\n"
        f"graph = Graph((NodeSpec('patient', 'program_patient'),), 0, {{'PYTHONPATH': {str(programs)!r}}})\n"
        "running = RunningGraph(graph, lambda name, line: print(running.processes[0].pid, flush=True))\n"
        "running.start()\n"
        "time.sleep(600)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert starter.stdout is not None
    node = int(starter.stdout.readline())
    assert is_alive(node)
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    assert wait_until(lambda: not is_alive(node))
