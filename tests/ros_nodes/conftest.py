"""Fixtures for tests over real topics: a domain of one's own, a small bundle, and a robot that speaks ROS."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from ros_nodes.environment import graph_environment
from ros_nodes.graph import Graph, NodeSpec
from ros_nodes.start import NodeProcess, RunningGraph
from tests.ros_nodes.fake_robot import FakeRobot
from tests.synthetic_bundle import write_synthetic_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One camera, four ticks of memory; it answers with the newest joints."""
    return write_synthetic_bundle(tmp_path_factory.mktemp("bundle"))


class StartedNodes:
    """Processes of a graph, what they print, and a robot on the same domain."""

    def __init__(self, nodes: Sequence[NodeSpec], domain_id: int, *, cameras: Sequence[str] = ("front",)) -> None:
        graph = Graph(tuple(nodes), domain_id, graph_environment(domain_id))
        self.lines: list[str] = []
        self.running = RunningGraph(graph, lambda name, line: self.lines.append(f"[{name}] {line}"))
        self.running.start()
        self.robot = FakeRobot(domain_id, cameras)

    def process(self, name: str) -> NodeProcess:
        return next(process for process in self.running.processes if process.node.name == name)

    def close(self) -> list[str]:
        self.robot.close()
        return self.running.stop()


@pytest.fixture
def start_nodes(domain_id: int) -> Iterator[Callable[..., StartedNodes]]:
    """Starts nodes and a robot on a domain of their own; after the test every node must end cleanly."""
    started: list[StartedNodes] = []

    def start(*nodes: NodeSpec, cameras: Sequence[str] = ("front",)) -> StartedNodes:
        started.append(StartedNodes(nodes, domain_id, cameras=cameras))
        return started[-1]

    yield start
    complaints = [complaint for nodes in started for complaint in nodes.close()]
    assert complaints == []
