"""A running graph changes to another bundle while the arm moves: every tick is answered, and the new one remembers what was."""

import itertools
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.clock import NS_PER_S, seconds_to_ns
from policy_server.runtime.memory import Memory
from policy_server.runtime.observation import Observation
from policy_server.runtime.resources import resource
from policy_server.runtime.successor import SwapError
from ros_nodes import messages, operate, topics
from ros_nodes.graph import NodeSpec, ParameterValue
from ros_nodes.swap_port import state_from
from tests.adaptable_bundle import write_adaptable_bundle, write_shifting_adapter
from tests.ros_nodes.conftest import StartedNodes
from tests.ros_nodes.fake_robot import READY, FakeRobot
from tests.second_bundle import write_second_bundle

pytestmark = pytest.mark.ros

RATE_HZ = 2.0
FRAMES_PER_TICK = 10
PERIOD_NS = seconds_to_ns(1 / RATE_HZ)
GAP_S = 10.0
ROOT = Path(__file__).parents[2]
Start = Callable[..., StartedNodes]


@pytest.fixture
def running(tmp_path: Path) -> Bundle:
    """Looks 6 ticks back, samples every third tick, and takes adapters."""
    settings = {"rate_hz": RATE_HZ, "context_length": 4, "stride_ticks": 2, "future_steps": 20, "replan_every_ticks": 3}
    return load_bundle(write_adaptable_bundle(tmp_path / "running", **settings))


@pytest.fixture
def new(tmp_path: Path) -> Bundle:
    """Another encoder, which looks 4 ticks back, and a longer chunk that is sampled at every tick."""
    settings = {"rate_hz": RATE_HZ, "context_length": 5, "future_steps": 24, "replan_every_ticks": 1}
    return load_bundle(write_second_bundle(tmp_path / "new", **settings))


def graph_of(bundle: Bundle, folder: Path, **of_inference: ParameterValue) -> tuple[NodeSpec, ...]:
    """History, inference and an arm that is patient with a busy machine."""
    arm_file = folder / "arm.yaml"
    text = resource("config/arm.yaml").read_text()
    arm_file.write_text(
        text.replace("watchdog_s: 0.3", "watchdog_s: 3.5").replace("max_chunk_age_s: 0.5", "max_chunk_age_s: 3.5")
    )
    shared: dict[str, ParameterValue] = {"bundle": str(bundle.path)}
    patient: dict[str, ParameterValue] = {"stale_after_s": GAP_S, "max_gap_s": GAP_S}
    return (
        NodeSpec("history_node", "ros_nodes.history_node", parameters={**shared, **patient}),
        NodeSpec("inference_node", "ros_nodes.inference_node", parameters={**shared, **of_inference}),
        NodeSpec(
            "arm_node",
            "ros_nodes.arm_node",
            parameters={"auto_arm": True, "auto_resume": True, "arm_file": str(arm_file)},
        ),
    )


class MovingRobot:
    """Joints that swing and pictures that change in real time, faster than the policy's ticks, until left. Remembers what it showed."""

    def __init__(self, robot: FakeRobot) -> None:
        self.shown: dict[int, Observation] = {}
        self._robot = robot
        self._random = np.random.default_rng(0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "MovingRobot":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(1 / (FRAMES_PER_TICK * RATE_HZ)):
            now_ns = time.time_ns()
            joints = [*READY]
            joints[0] += 0.3 * math.sin(2 * now_ns / NS_PER_S)
            picture = self._random.integers(0, 256, (96, 96, 3), dtype=np.uint8)
            self.shown[now_ns] = Observation(now_ns, {"front": picture}, np.array(joints, np.float32))
            self._robot.state_joints(now_ns, joints)
            self._robot.show(now_ns, picture)


class Collected:
    """Every context and chunk of a running graph, also when this process sleeps for a while: the graph's own queues hold one message."""

    def __init__(self, robot: FakeRobot) -> None:
        self.contexts: list[Image] = []
        self.chunks: list[JointTrajectory] = []
        profile = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        robot.node.create_subscription(Image, topics.POLICY_CONTEXT, self.contexts.append, profile)
        robot.node.create_subscription(JointTrajectory, topics.ACTION_CHUNK, self.chunks.append, profile)


def stamps_of(collected: list[Image] | list[JointTrajectory]) -> list[int]:
    return [messages.stamp_to_ns(message.header.stamp) for message in collected]


def hashes_of(collected: list[Image] | list[JointTrajectory]) -> list[str]:
    """In order, each once as long as it lasts."""
    return [hash_ for hash_, _ in itertools.groupby(message.header.frame_id for message in collected)]


def guard_values(robot: FakeRobot) -> dict[str, str]:
    newest = [report for report in robot.reports_of("arm_node") if report.name == "arm_node: guard"][-1]
    return {item.key: item.value for item in newest.values}


def parameter_of(robot: FakeRobot, node: str, name: str) -> str:
    request = GetParameters.Request(names=[name])
    return str(robot.call(GetParameters, f"{node}/get_parameters", request, 2.0).values[0].string_value)


def set_parameter(robot: FakeRobot, node: str, name: str, value: str) -> str:
    """The reason for which it is refused; empty when it is not."""
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    result = robot.call(SetParameters, f"{node}/set_parameters", request, 2.0).results[0]
    return "" if result.successful else str(result.reason)


def stage_of(robot: FakeRobot, node: str) -> str:
    return state_from(robot.call(Trigger, f"{node}/swap_state", Trigger.Request(), 2.0)).stage


def operate_swap(bundle: Bundle) -> tuple[int, str]:
    """The operator's command in a process of its own, so that the robot in this one does not fall silent."""
    result = subprocess.run(
        [sys.executable, "-m", "ros_nodes.operate", "swap", str(bundle.path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=100,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


def test_a_swap_during_motion_misses_no_tick_stops_no_arm_and_remembers_what_was(
    start_nodes: Start, running: Bundle, new: Bundle, tmp_path: Path
) -> None:
    adapter = write_shifting_adapter(running.path, "left", 0.02)
    robot = start_nodes(*graph_of(running, tmp_path, adapters=str(adapter), adapter="left")).robot
    collected = Collected(robot)
    with MovingRobot(robot) as moving:
        robot.wait_for(lambda: collected.chunks, "the first chunk")
        robot.wait_for(lambda: len(collected.chunks) > 8, "as many chunks as the memory is long")
        robot.wait_for(lambda: guard_values(robot)["state"] == "running", "the arm to move")
        before_ns = stamps_of(collected.chunks)[-1]
        status, output = operate_swap(new)
        assert status == 0, output
        count = len(collected.chunks)
        robot.wait_for(lambda: len(collected.chunks) > count + 4, "chunks with the new bundle")
        robot.wait_for(lambda: guard_values(robot)["bundle"] == new.hash[:12], "the arm's report of the new bundle")
        values = guard_values(robot)
    robot.wait_for(
        lambda: abs(stamps_of(collected.chunks)[-1] - stamps_of(collected.contexts)[-1]) < PERIOD_NS // 2,
        "the last answer",
    )

    assert hashes_of(collected.contexts) == hashes_of(collected.chunks) == [running.hash, new.hash]
    assert values["state"] == "running"
    assert [values[name] for name in ("other_bundle", "watchdog_stops", "chunks_ended", "halts")] == ["0"] * 4
    check_no_tick_is_missing(collected, moving, before_ns)
    check_the_new_bundle_remembers(collected, moving, running, new)

    assert "its memory is complete" in output and output.splitlines()[-1].startswith(
        f"swap: '{new.path}' has taken over"
    )
    for node in ("history_node", "inference_node"):
        robot.wait_for(lambda node=node: parameter_of(robot, node, "bundle") == str(new.path), "the parameter")
        assert parameter_of(robot, node, "next_bundle") == ""
    assert parameter_of(robot, "inference_node", "adapters") == parameter_of(robot, "inference_node", "adapter") == ""


def check_no_tick_is_missing(collected: Collected, moving: MovingRobot, from_ns: int) -> None:
    contexts = np.array([stamp_ns for stamp_ns in stamps_of(collected.contexts) if stamp_ns >= from_ns])
    chunks = np.array(stamps_of(collected.chunks))
    # A standing plan goes on in its own time, so its stamps are a little off the contexts' that it answers.
    late_ns = np.abs(contexts[:, None] - chunks).min(axis=1)
    assert len(contexts) > 4 and (late_ns < PERIOD_NS / 2).all(), f"a context was not answered: {late_ns}"
    shown = np.array(sorted(moving.shown))
    between = np.diff(np.searchsorted(shown, contexts))
    assert (between < 2 * FRAMES_PER_TICK).all(), "no tick was made of the frames of one period"


def check_the_new_bundle_remembers(collected: Collected, moving: MovingRobot, running: Bundle, new: Bundle) -> None:
    """Its contexts are those of a memory that has seen every tick with its own encoder, bit for bit."""
    memories = {bundle.hash: Memory(bundle, max_gap_ns=seconds_to_ns(GAP_S)) for bundle in (running, new)}
    compared = dict.fromkeys(memories, 0)
    for tick, message in enumerate(collected.contexts):
        observation = moving.shown[messages.stamp_to_ns(message.header.stamp)]
        expected = {bundle_hash: memory.observe(observation) for bundle_hash, memory in memories.items()}
        if tick > 7:  # before it reaches back to what came before the first context that was collected
            context, bundle_hash = messages.image_to_context(message)
            assert context.rows.tobytes() == expected[bundle_hash].rows.tobytes()
            compared[bundle_hash] += 1
    assert all(compared.values())


def test_what_does_not_fit_or_is_not_agreed_leaves_the_running_bundle(
    start_nodes: Start, running: Bundle, new: Bundle, tmp_path: Path
) -> None:
    other = load_bundle(write_second_bundle(tmp_path / "other", task="press_count", rate_hz=RATE_HZ))
    robot = start_nodes(*graph_of(running, tmp_path)).robot
    collected = Collected(robot)
    with MovingRobot(robot):
        robot.wait_for(lambda: len(collected.chunks) > 2, "chunks")
        status, output = operate_swap(other)
        assert status == 2
        assert "task press_count instead of reach_cued" in output and "the running bundle goes on" in output
        assert [stage_of(robot, node) for node in ("history_node", "inference_node")] == ["none", "none"]

        refused = robot.call(Trigger, "history_node/swap", Trigger.Request(), 5.0)
        assert not refused.success and "no bundle is ready" in refused.message
        assert set_parameter(robot, "history_node", "next_bundle", str(new.path)) == ""
        robot.wait_for(lambda: stage_of(robot, "history_node") == "ready", "the new memory")
        refused = robot.call(Trigger, "history_node/swap", Trigger.Request(), 5.0)
        assert not refused.success and "inference_node has no bundle ready" in refused.message

        assert "changes its bundle through next_bundle" in set_parameter(robot, "inference_node", "bundle", "/x")
        assert "is no bundle's hash" in set_parameter(robot, "arm_node", "next_bundle_hash", "new")
        assert set_parameter(robot, "arm_node", "next_bundle_hash", new.hash) == ""
        count = len(collected.chunks)
        robot.wait_for(lambda: len(collected.chunks) > count + 2, "chunks after the refusals")
    assert hashes_of(collected.contexts) == hashes_of(collected.chunks) == [running.hash]
    assert [robot.state_of(node) for node in ("history_node", "inference_node", "arm_node")] == ["active"] * 3


def test_a_graph_that_is_not_there_is_told(domain_id: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ros_nodes.swap._ANSWER_S", 0.5)
    with pytest.raises(SwapError, match=r"history_node/swap_state does not answer .*domain"):
        operate.main(["swap", str(tmp_path), "--domain-id", str(domain_id)])


@pytest.mark.parametrize("arguments", [["swap"], ["arm", "bundles/new"]])
def test_only_a_swap_takes_a_folder(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        operate.main(arguments)
    assert "swap takes the folder of a bundle" in capsys.readouterr().err
