"""One part of a soak: the loopback robot, the graph, the operator, and one fault after the other."""

import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from policy_server.runtime.errors import PolicyError
from ros_nodes import topics
from ros_nodes.domain import claimed_domain
from ros_nodes.graph import Graph, NodeSpec, ParameterValue, RobotSimOptions, robot_sim_graph
from ros_nodes.start import LineSink, NodeProcess, RunningGraph, check
from sim_bridge.loopback.robot import LoopbackRobot
from sim_bridge.soak.faults import Fault, FaultKind, plan
from sim_bridge.soak.operator import OFFERED_CHUNKS, Operator
from sim_bridge.soak.record import SoakRecord
from sim_bridge.soak.rest import MOVING_RAD_S, rest_after

START_PATIENCE_S = 120.0
RESUME_PATIENCE_S = 60.0
LATE_CHUNK_S = 0.25
_ARM_EVERY_S = 1.0
_SILENCE_S = 1.5
_ON_THEIR_WAY_S = 0.1
_LOOK_S = 0.1


class SoakError(PolicyError):
    """The graph did not start, did not move the arm, or lost a node that nobody ended."""


class Soak:
    """Runs until its record is full or ``stopped`` says so; the record is kept up to date."""

    def __init__(
        self,
        options: RobotSimOptions,
        record: SoakRecord,
        every_s: float,
        say: Callable[[str], None],
        on_line: LineSink,
        enforce_communication: bool = False,
    ) -> None:
        """``every_s``: time between two faults. ``enforce_communication``: late packets are a reflex, as on a robot."""
        self._options = options
        self._record = record
        self._every_s = every_s
        self._say = say
        self._on_line = on_line
        self._enforce_communication = enforce_communication
        self._answer = ""
        self._seen_paces = self._seen_aborts = 0
        self._seen_chunks = (0, 0)
        self._operator: Operator
        self._robot_at_hand: LoopbackRobot
        self._nodes: RunningGraph
        self._ended_by_us: set[int] = set()

    def run(self, stopped: Callable[[], bool], saved: Callable[[], None]) -> None:
        """Raises SoakError, LoopbackRobotError. ``saved`` is called now and then, and at the end. A full record starts nothing."""
        if self._record.left_s == 0.0:
            return
        folder = Path(self._options.output_dir)
        self._graph = soak_graph(self._options)
        with claimed_domain(self._options.domain_id):
            check(self._graph)
            with self._robot(folder) as self._robot_at_hand, self._running(), self._operating():
                self._await_motion(stopped)
                self._strike(stopped, saved)
        saved()

    def _strike(self, stopped: Callable[[], bool], saved: Callable[[], None]) -> None:
        faults = plan(self._record.seed + round(self._record.done_s), self._every_s)
        fault = next(faults)
        begun_s = seen_s = time.monotonic()
        armed_s = 0.0
        while self._record.left_s > 0.0 and not stopped():
            time.sleep(_LOOK_S)
            if time.monotonic() - begun_s >= fault.at_s:
                self._inject(fault, stopped)
                fault = next(faults)
            if time.monotonic() - armed_s > _ARM_EVERY_S:
                self._keep_going()
                armed_s = time.monotonic()
            self._refuse_lost_nodes()
            now_s = time.monotonic()
            self._record.done_s += now_s - seen_s
            seen_s = now_s
            self._take_down()
            saved()

    def _inject(self, fault: Fault, stopped: Callable[[], bool]) -> None:
        self._say(f"{fault.kind}, {fault.duration_s:.1f} s")
        match fault.kind:
            case FaultKind.INFERENCE_KILLED:
                self._kill("inference_node")
                self._measure_rest(_SILENCE_S)
                self._start("inference_node")
            case FaultKind.INFERENCE_STALLED:
                self._freeze("inference_node", fault.duration_s)
            case FaultKind.HISTORY_STALLED:
                self._freeze("history_node", fault.duration_s)
            case FaultKind.CAMERA_FROZEN:
                self._freeze("mirror_node", fault.duration_s)
            case FaultKind.CHUNKS_LOST:
                self._with_network(fault.duration_s, loss=fault.share)
            case FaultKind.CHUNKS_LATE:
                self._with_network(fault.duration_s, delay_s=LATE_CHUNK_S)
            case FaultKind.REFLEX:
                self._robot_at_hand.reflex("joint_velocity_violation")
                time.sleep(fault.duration_s)
        moved = self._moves_again(stopped)
        if moved or not stopped():  # a run that is stopped meanwhile says nothing of the arm
            self._record.count(fault.kind, "struck")
        if moved:
            self._record.count(fault.kind, "moved again")

    def _measure_rest(self, silence_s: float) -> None:
        """Let the silence that has begun last, and see when the arm came to rest."""
        time.sleep(_ON_THEIR_WAY_S)
        silent_from_s = self._operator.last_chunk_s
        time.sleep(silence_s)
        if self._operator.last_chunk_s != silent_from_s:
            return  # the mirror led the arm home meanwhile
        rest = rest_after(*self._operator.speeds(), silent_from_s, time.time())
        if rest.after_s is None:
            self._record.never_rested += 1
        elif rest.was_moving:
            self._record.rest_s.append(round(rest.after_s, 3))

    def _moves_again(self, stopped: Callable[[], bool]) -> bool:
        """On command, within a minute: some episodes ask the arm to wait."""
        since_s, deadline_s = time.time(), time.monotonic() + RESUME_PATIENCE_S
        while time.monotonic() < deadline_s and not stopped():
            self._keep_going()
            if self._operator.moved_since(since_s, MOVING_RAD_S):
                return True
            time.sleep(_ARM_EVERY_S / 2)
            self._refuse_lost_nodes()
        return False

    def _keep_going(self) -> None:
        """What a patient operator does: arm; if that is refused, recover and arm."""
        armed, self._answer = self._operator.arm()
        if not armed:
            _, self._answer = self._operator.recover()
            self._operator.arm()

    def _await_motion(self, stopped: Callable[[], bool]) -> None:
        since_s, deadline_s = time.time(), time.monotonic() + START_PATIENCE_S
        while not (self._operator.carried and self._operator.moved_since(since_s, MOVING_RAD_S)) and not stopped():
            self._keep_going()
            self._refuse_lost_nodes()
            if time.monotonic() > deadline_s:
                raise SoakError(
                    f"the arm does not move {START_PATIENCE_S:.0f} s after the start ({self._operator.carried} chunks; arm_node says "
                    f"'{self._answer}'): see graph.log"
                )
            time.sleep(_ARM_EVERY_S / 2)
        self._take_down()

    def _take_down(self) -> None:
        record, operator, robot = self._record, self._operator, self._robot_at_hand
        record.paces += robot.paces[self._seen_paces :]
        self._seen_paces = len(robot.paces)
        for abort in robot.aborts[self._seen_aborts :]:
            if abort.injected:
                record.reflexes_injected += 1
            else:
                record.reflexes_by_us.append(abort.reason)
                self._say(f"REFLEX BY US: {abort.reason}")
        self._seen_aborts = len(robot.aborts)
        record.chunks_carried += operator.carried - self._seen_chunks[0]
        record.chunks_lost += operator.lost - self._seen_chunks[1]
        self._seen_chunks = (operator.carried, operator.lost)

    # --- processes ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _robot(self, folder: Path) -> Iterator[LoopbackRobot]:
        log, strict = folder / "robot.log", self._enforce_communication
        with LoopbackRobot(self._options.robot_address, log=log, enforce_communication=strict) as robot:
            yield robot

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        self._nodes = RunningGraph(self._graph, self._on_line)
        try:
            self._nodes.start()
            yield
        finally:
            for process in self._nodes.processes:
                process.signal(signal.SIGCONT)
            self._nodes.stop()

    @contextlib.contextmanager
    def _operating(self) -> Iterator[None]:
        self._operator = Operator(self._options.domain_id, self._record.seed)
        try:
            yield
        finally:
            self._operator.close()

    def _process(self, name: str) -> NodeProcess:
        return next(process for process in self._nodes.processes if process.node.name == name)

    def _kill(self, name: str) -> None:
        process = self._process(name)
        self._ended_by_us.add(process.pid)
        process.signal(signal.SIGKILL)

    def _start(self, name: str) -> None:
        old = self._process(name)
        self._nodes.processes.remove(old)
        self._nodes.processes.append(NodeProcess(old.node, self._graph, self._on_line, lambda process: None))

    def _freeze(self, name: str, duration_s: float) -> None:
        process = self._process(name)
        process.signal(signal.SIGSTOP)
        try:
            time.sleep(duration_s)
        finally:
            process.signal(signal.SIGCONT)

    def _with_network(self, duration_s: float, *, loss: float = 0.0, delay_s: float = 0.0) -> None:
        self._operator.loss, self._operator.delay_s = loss, delay_s
        try:
            time.sleep(duration_s)
        finally:
            self._operator.loss, self._operator.delay_s = 0.0, 0.0

    def _refuse_lost_nodes(self) -> None:
        for process in self._nodes.processes:
            if process.status is not None and process.pid not in self._ended_by_us:
                raise SoakError(f"{process.epitaph()} (all output: {self._options.output_dir}/graph.log)")


def soak_graph(options: RobotSimOptions) -> Graph:
    """The graph of ``make robot-sim``, but that the arm obeys an operator, chunks go through his hands, and the memory bears
    longer gaps: a machine that is too busy is not what a soak is about.
    """
    graph = robot_sim_graph(options)
    return dataclasses.replace(graph, nodes=tuple(map(_in_soak, graph.nodes)))


def _in_soak(node: NodeSpec) -> NodeSpec:
    changed: dict[str, dict[str, ParameterValue]] = {
        "arm_node": {"auto_arm": False, "auto_resume": False},
        "history_node": {"max_gap_s": 5.0},
    }
    remapped = ((topics.ACTION_CHUNK, OFFERED_CHUNKS),) if node.name == "inference_node" else ()
    return dataclasses.replace(
        node,
        parameters={**node.parameters, **changed.get(node.name, {})},
        remappings=(*node.remappings, *remapped),
    )
