"""Starts a graph as processes, where ``ros2 launch`` is absent: ``python -m ros_nodes.start sim bundle=... task=...``.

Every node is a process of its own. One that dies takes the others down; Ctrl-C ends all of them within 3 s.
"""

import contextlib
import ctypes
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from policy_server.runtime.command import run_command
from policy_server.runtime.configuration import apply_overrides
from policy_server.runtime.errors import ConfigurationError
from ros_nodes import environment
from ros_nodes.domain import claimed_domain, refuse_domain_in_use
from ros_nodes.graph import (
    Graph,
    NodeSpec,
    RobotOptions,
    SimOptions,
    command_line,
    options_from,
    robot_graph,
    sim_graph,
)
from ros_nodes.parameters import check_parameters_file

EXIT_OK = 0
EXIT_NODE_DIED = 1
EXIT_INTERRUPTED = 130
# A node gives up its own clean end after 2.0 s; whatever is left is killed.
_GRACE_S = 2.5
_LAST_WORDS_S = 0.3
_PR_SET_PDEATHSIG = 1

# As rclpy's loggers write it: level, time, logger.
_LOG_PREFIX = re.compile(r"^\[(ERROR|FATAL)\] (\[[\d.]+\] )?\[[\w.]+\]: ")

LineSink = Callable[[str, str], None]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: an exit status and, unless all went well, one line that says why."""

    status: int
    reason: str = ""


class NodeProcess:
    """One running node and the last thing it complained about."""

    def __init__(
        self, node: NodeSpec, graph: Graph, on_line: LineSink, on_exit: Callable[["NodeProcess"], None]
    ) -> None:
        self.node = node
        self._on_line = on_line
        self._on_exit = on_exit
        self._last_line = ""
        self._last_error = ""
        self._process = subprocess.Popen(
            command_line(node),
            env=environment.child_environment(os.environ, graph.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
            preexec_fn=_end_with_parent,
        )
        self._reader = threading.Thread(target=self._read, name=f"read {node.name}", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name=f"watch {node.name}", daemon=True)
        self._reader.start()
        self._watcher.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll()

    def signal(self, number: int) -> None:
        """Send a signal to the node and everything it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def join(self, timeout_s: float) -> bool:
        """Wait for its end and its last words; False when it still runs."""
        self._watcher.join(max(timeout_s, 0.0))
        return not self._watcher.is_alive()

    def epitaph(self) -> str:
        """How it ended, in one line."""
        status = self.status or 0
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        last = self._last_error or self._last_line
        return f"{self.node.name} {how}: {last}" if last else f"{self.node.name} {how} without a word"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            line = raw.rstrip("\n")
            self._last_line = line or self._last_line
            if "[ERROR]" in line or "[FATAL]" in line:
                self._last_error = _LOG_PREFIX.sub("", line)
            self._on_line(self.node.name, line)

    def _watch(self) -> None:
        self._process.wait()
        # What the node itself started may hold the pipe open for longer.
        self._reader.join(_LAST_WORDS_S)
        self._on_exit(self)


class RunningGraph:
    """The processes of a graph. Start it from a thread that outlives it: the nodes end when that thread does."""

    def __init__(self, graph: Graph, on_line: LineSink) -> None:
        self._graph = graph
        self._on_line = on_line
        self._exits: queue.SimpleQueue[NodeProcess | None] = queue.SimpleQueue()
        self.processes: list[NodeProcess] = []

    def start(self) -> None:
        """Start every node; on an error none is left running."""
        try:
            for node in self._graph.nodes:
                self.processes.append(NodeProcess(node, self._graph, self._on_line, self._exits.put))
        except BaseException:
            self.stop()
            raise

    def interrupt(self) -> None:
        """Make ``wait`` return None; may be called from a signal handler."""
        self._exits.put(None)

    def wait(self, timeout_s: float | None = None) -> NodeProcess | None:
        """The first node that ends; None after ``interrupt`` or the timeout."""
        try:
            return self._exits.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def stop(self, grace_s: float = _GRACE_S) -> list[str]:
        """End every node; returns a line for each that had to be killed or ended badly on request."""
        deadline_s = time.monotonic() + grace_s
        running = [process for process in self.processes if process.status is None]
        for process in running:
            process.signal(signal.SIGTERM)
        complaints = []
        for process in running:
            if not process.join(deadline_s - time.monotonic()):
                complaints.append(f"{process.node.name} did not end within {grace_s} s and was killed")
            # A node that is still starting has no handler yet and simply ends.
            elif process.status not in (0, -signal.SIGTERM):
                complaints.append(process.epitaph())
        for process in self.processes:
            process.signal(signal.SIGKILL)
            process.join(1.0)
        return complaints


def check(graph: Graph) -> None:
    """Refuse to start a graph that cannot work.

    Raises:
        RosEnvironmentError: two ROS installations are mixed, or the domain is in use.
        ConfigurationError: a parameters file names a node that the graph does not have.
    """
    environment.refuse_mixed_ros(os.environ, environment.uses_wheels())
    for file in {file for node in graph.nodes for file in node.parameters_files}:
        check_parameters_file(file, KNOWN_NODES | set(graph.names))
    environment.clean_shared_memory()
    os.environ.update(graph.environment)
    refuse_domain_in_use(graph.domain_id, graph.names)


# One parameters file serves every scenario, so it may name nodes that this graph leaves out.
KNOWN_NODES = {"bridge_node", "camera_node", "history_node", "inference_node", "arm_node"}


def run(graph: Graph, on_line: LineSink | None = None) -> Outcome:
    """Run a graph from start to end, in the main thread.

    It ends when the node that ends the run has ended, when any other node dies, or on SIGINT or SIGTERM.

    Raises:
        PolicyError: what ``check`` refuses, or a domain that another starter holds.
    """
    with claimed_domain(graph.domain_id):
        check(graph)
        running = RunningGraph(graph, on_line or _print_prefixed)
        with _interrupted_by_signals(running):
            running.start()
            first = running.wait()
            complaints = running.stop()
    return outcome_of(graph, first, complaints)


def main(arguments: Sequence[str] | None = None) -> int:
    """``sim`` or ``robot``, then options as ``name=value``."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    scenario, overrides = (arguments[0], arguments[1:]) if arguments else ("", [])
    if scenario not in ("sim", "robot"):
        raise ConfigurationError(f"no scenario '{scenario}': write 'sim' or 'robot', then options as name=value")
    values = apply_overrides({}, overrides)
    graph = (
        sim_graph(options_from(SimOptions, values))
        if scenario == "sim"
        else robot_graph(options_from(RobotOptions, values))
    )
    outcome = run(graph)
    if outcome.reason:
        print(outcome.reason, file=sys.stderr, flush=True)
    return outcome.status


def outcome_of(graph: Graph, first: NodeProcess | None, complaints: list[str]) -> Outcome:
    """The outcome of a run, from the node that ended first (None: interrupted) and what ``stop`` complained about."""
    if first is not None and not (first.node.ends_run and first.status == 0):
        return Outcome(EXIT_NODE_DIED, f"the run ended because {first.epitaph()}")
    if complaints:
        return Outcome(EXIT_NODE_DIED, f"the run did not end cleanly: {'; '.join(complaints)}")
    if first is None and any(node.ends_run for node in graph.nodes):
        return Outcome(EXIT_INTERRUPTED, "the run was interrupted before its end")
    return Outcome(EXIT_OK)


@contextlib.contextmanager
def _interrupted_by_signals(running: RunningGraph) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, lambda *_: running.interrupt()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _print_prefixed(name: str, line: str) -> None:
    print(f"[{name}] {line}", flush=True)


_libc = ctypes.CDLL(None, use_errno=True)


def _end_with_parent() -> None:
    """Runs in the child before the node starts: when the starter is killed, the kernel sends SIGTERM."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
