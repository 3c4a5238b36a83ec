"""Adapters on the running graph: switched while it runs, without a missed tick, effective with the next sampled chunk."""

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from trajectory_msgs.msg import JointTrajectory

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.actor import Actor
from policy_server.runtime.adapter import read_adapter, write_adapter
from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.clock import NS_PER_S
from policy_server.runtime.history import Context
from ros_nodes import messages, topics
from ros_nodes.graph import NodeSpec, ParameterValue
from tests.adaptable_bundle import shifting_adapter, write_adaptable_bundle, write_shifting_adapter
from tests.ros_nodes.conftest import StartedNodes
from tests.ros_nodes.fake_robot import FakeRobot, Streaming

pytestmark = pytest.mark.ros

ROOT = Path(__file__).parents[2]
RATE_HZ = 5.0
Start = Callable[..., StartedNodes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_adaptable_bundle(tmp_path / "bundle", rate_hz=RATE_HZ, replan_every_ticks=2)


@pytest.fixture
def left(folder: Path) -> Path:
    return write_shifting_adapter(folder, "left", 0.02)


@pytest.fixture
def right(folder: Path) -> Path:
    return write_shifting_adapter(folder, "right", -0.02)


def graph_of(bundle: Path, **of_inference: ParameterValue) -> tuple[NodeSpec, ...]:
    """History and inference; the parameters of the running node are set through its own services."""
    shared: dict[str, ParameterValue] = {"bundle": str(bundle)}
    return (
        NodeSpec(
            "history_node", "ros_nodes.history_node", parameters={**shared, "stale_after_s": 3.0, "max_gap_s": 3.0}
        ),
        NodeSpec("inference_node", "ros_nodes.inference_node", parameters={**shared, **of_inference}),
    )


def set_parameter(robot: FakeRobot, name: str, value: str) -> str:
    """The reason for which it is refused; empty when it is not."""
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    result = robot.call(SetParameters, "inference_node/set_parameters", request, repeat_s=2.0).results[0]
    return "" if result.successful else result.reason


def wait_until_reported(robot: FakeRobot, key: str, value: str) -> None:
    def newest() -> dict[str, str]:
        reports = [report for report in robot.reports_of("inference_node") if report.name == "inference_node: adapters"]
        return {item.key: item.value for item in reports[-1].values} if reports else {}

    robot.wait_for(lambda: newest().get(key) == value, f"'{key}: {value}' in the report, not {newest()}")


class Collected:
    """Every context and chunk of a running graph, also when this process sleeps for a while: the graph's own queues hold one message."""

    def __init__(self, robot: FakeRobot) -> None:
        self._contexts: list[Image] = []
        self._chunks: list[JointTrajectory] = []
        profile = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        robot.node.create_subscription(Image, topics.POLICY_CONTEXT, self._contexts.append, profile)
        robot.node.create_subscription(JointTrajectory, topics.ACTION_CHUNK, self._chunks.append, profile)

    def contexts(self) -> list[Context]:
        return [messages.image_to_context(message)[0] for message in list(self._contexts)]

    def chunks(self) -> list[ActionChunk]:
        return [messages.trajectory_to_chunk(message) for message in list(self._chunks)]


def test_switching_adapters_misses_no_tick_and_takes_effect_with_the_next_sampled_chunk(
    start_nodes: Start, folder: Path, left: Path, right: Path
) -> None:
    robot = start_nodes(*graph_of(folder, adapters=str(left))).robot
    collected = Collected(robot)
    asked, chunks_then = [""], [0]  # what the node was asked for, and how many chunks there were when it had said yes

    def switch(name: str) -> None:
        assert set_parameter(robot, "adapter", name) == ""
        asked.append(name)
        chunks_then.append(len(collected.chunks()))
        robot.wait_for(lambda: len(collected.chunks()) >= chunks_then[-1] + 5, "chunks after the switch")

    with Streaming(robot, rate_hz=4 * RATE_HZ):
        robot.wait_for(lambda: len(collected.chunks()) > 3, "chunks")
        for name in ("left", "", "left"):
            switch(name)
        assert set_parameter(robot, "adapters", f"{left},{right}") == ""  # loading goes on beside the control
        wait_until_reported(robot, "loaded", "left, right")
        switch("right")
    robot.wait_for(lambda: same_tick(collected.chunks()[-1], collected.contexts()[-1]), "the last answer")
    chunks, contexts = collected.chunks(), collected.contexts()
    contexts = contexts[-len(chunks) :]  # the first may have come before inference was there
    assert all(map(same_tick, chunks, contexts)), "a tick was missed"
    used = adapters_of(folder, [left, right], contexts, chunks)
    assert [name for i, name in enumerate(used) if i == 0 or used[i - 1] != name] == asked
    for name, count in zip(asked[1:], chunks_then[1:], strict=True):
        # The next sample is at most two ticks away, and one chunk may have been on its way.
        assert name in used[count : count + 3]


def same_tick(chunk: ActionChunk, context: Context) -> bool:
    """A standing plan goes on in its own time, so its stamps are a little off the contexts' that it answers."""
    return abs(chunk.stamp_ns - context.stamp_ns) < NS_PER_S / RATE_HZ / 2


def adapters_of(folder: Path, files: list[Path], contexts: list[Context], chunks: list[ActionChunk]) -> list[str]:
    """The adapter with which each chunk was sampled, found by sampling it anew; fails when none gives the chunk."""
    actor = Actor(load_bundle(folder))
    for file in files:
        actor.denoiser.load(read_adapter(file))
    used, before = [], ""
    for context, chunk in zip(contexts, chunks, strict=True):
        plan, drawn = actor._plan, actor._samples_drawn
        for name in (before, "", "left", "right"):
            actor._plan, actor._samples_drawn = plan, drawn  # as before the trial
            actor.denoiser.activate(name or None)
            if np.array_equal(actor.answer(context).positions, chunk.positions):
                break
        else:
            raise AssertionError(f"the chunk at {context.stamp_ns} ns is none of the engine's")
        used.append(name)
        before = name
    return used


def test_what_does_not_fit_is_refused_with_the_reason_and_control_goes_on(
    start_nodes: Start, folder: Path, left: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign.safetensors"
    write_adapter(foreign, dataclasses.replace(shifting_adapter(folder, "foreign", 0.1), base_hash="a" * 64))
    robot = start_nodes(*graph_of(folder, adapters=str(left), adapter="left")).robot
    with Streaming(robot, rate_hz=4 * RATE_HZ):
        robot.wait_for(lambda: robot.received[topics.ACTION_CHUNK], "a chunk")
        reason = set_parameter(robot, "adapters", f"{left},{foreign}")
        assert "a" * 64 in reason and load_bundle(folder).hash in reason
        assert "adapter 'left' is to be active" in set_parameter(robot, "adapters", "")
        assert "no adapter 'up' is loaded; loaded: left" in set_parameter(robot, "adapter", "up")
        assert set_parameter(robot, "candidates", "4") != ""
        count = len(robot.received[topics.ACTION_CHUNK])
        robot.wait_for(lambda: len(robot.received[topics.ACTION_CHUNK]) > count + 2, "chunks after the refusals")
        wait_until_reported(robot, "active", "left")
    assert robot.state_of("inference_node") == "active"


def test_an_adapter_that_does_not_fit_ends_the_node_at_its_start(domain_id: int, folder: Path, left: Path) -> None:
    other = write_adaptable_bundle(folder.parent / "other", rate_hz=RATE_HZ, future_steps=8)
    node = graph_of(other, adapters=str(left))[1]
    started = StartedNodes([node], domain_id)
    ended = started.running.wait(timeout_s=30.0)
    started.close()
    assert ended is not None and ended.status == 2
    assert "adapter 'left' is for the bundle" in ended.epitaph()


def command(*arguments: str) -> tuple[int, str]:
    result = subprocess.run(
        [sys.executable, "-m", "ros_nodes.adapters", *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    return result.returncode, result.stdout + result.stderr


def test_a_user_lists_loads_activates_and_drops_adapters(
    start_nodes: Start, folder: Path, left: Path, right: Path
) -> None:
    robot = start_nodes(*graph_of(folder)).robot
    assert robot.wait_for(lambda: robot.state_of("inference_node") == "active", "the node to be active")
    status, output = command("load", str(left), str(right), "--activate")
    assert status == 0, output
    assert output.splitlines()[-1] == "inference_node samples with adapter 'right'"
    status, output = command("drop", "right")
    assert status == 2 and "adapter 'right' is to be active" in output
    assert command("activate", "left")[1].splitlines()[-1] == "inference_node samples with adapter 'left'"
    status, output = command("drop", "right")
    assert status == 0 and str(left) in output and str(right) not in output
    assert command("deactivate")[1].splitlines()[-1] == "inference_node samples with the base policy"
    wait_until_reported(robot, "active", "base policy")


def test_a_command_without_a_graph_says_what_is_missing(domain_id: int) -> None:
    begun_s = time.monotonic()
    status, output = command("--timeout", "1", "list")
    assert status == 2
    assert "no answer of inference_node/list_adapters within 1 s: is the graph running" in output
    assert time.monotonic() - begun_s < 60
