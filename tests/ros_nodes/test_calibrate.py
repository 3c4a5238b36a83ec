"""The latencies of an arm and a camera are found: a simulated arm seen by a simulated camera, both late by what we chose."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sensor_msgs.msg import JointState

from policy_server.runtime.clock import NS_PER_MS
from ros_nodes import messages, topics
from ros_nodes.calibrate import measure
from ros_nodes.calibration_motion import CalibrationMotion
from ros_nodes.errors import GraphError
from ros_nodes.graph import NodeSpec
from sim_bridge.fr3 import ARM_JOINTS, HOME_RAD
from sim_bridge.tasks.registry import task_by_name
from sim_bridge.world import CameraView, World
from tests.ros_nodes.conftest import StartedNodes
from tests.ros_nodes.fake_robot import FakeRobot

ROOT = Path(__file__).parents[2]
ARM_LATENCY_NS = 70 * NS_PER_MS
CAMERA_LATENCY_NS = 110 * NS_PER_MS
JOINTS = (*ARM_JOINTS, "fr3_finger_joint1")


class LateArm:
    """Follows arm_node's trajectories late, publishes joint states at 50 Hz and, later still, pictures at 10 Hz."""

    def __init__(self, robot: FakeRobot) -> None:
        self._robot = robot
        self._ended = threading.Event()
        # Two: drawing a picture may take longer than joint states may be silent for.
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._move, self._show)]
        self._were: list[tuple[int, NDArray[np.float64]]] = []
        self._told: dict[int, NDArray[np.float64]] = {}
        self._read = 0

    def __enter__(self) -> "LateArm":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _move(self) -> None:
        while not self._ended.wait(0.02):
            now_ns = time.time_ns()
            self._were.append((now_ns, self._at(now_ns)))
            self._robot.state_joints(now_ns, [*self._were[-1][1], 0.04], JOINTS)

    def _show(self) -> None:
        world = World(task_by_name("reach_cued"), [CameraView("front", 96, 96)])
        while not self._ended.wait(0.1):
            if were := self._were[-50:]:
                now_ns = time.time_ns()
                world.simulation.data.qpos[:7] = interpolated(were, now_ns - CAMERA_LATENCY_NS)
                self._robot.show(now_ns, world.render("front"))
        world.close()

    def _at(self, time_ns: int) -> NDArray[np.float64]:
        """Where the arm is now: what it was told ``ARM_LATENCY_NS`` before."""
        received = self._robot.received[topics.ARM_TRAJECTORY]
        for message in received[self._read :]:
            targets = messages.trajectory_to_targets(message)
            begins_ns = int(targets.times_ns[0])
            self._told = {when: row for when, row in self._told.items() if when < begins_ns}
            self._told.update(zip(targets.times_ns.tolist(), targets.positions, strict=True))
        self._read = len(received)
        if not self._told:
            return HOME_RAD
        self._told = {when: row for when, row in self._told.items() if when > time_ns - 10 * ARM_LATENCY_NS}
        return interpolated(sorted(self._told.items()), time_ns - ARM_LATENCY_NS)


def interpolated(knots: list[tuple[int, NDArray[np.float64]]], time_ns: int) -> NDArray[np.float64]:
    times_ns = np.array([when for when, _ in knots], np.int64)
    rows = np.stack([row for _, row in knots])
    return np.array([np.interp(time_ns - times_ns[0], times_ns - times_ns[0], column) for column in rows.T])


@pytest.mark.ros
@pytest.mark.slow
def test_injected_latencies_of_arm_and_camera_are_found(
    start_nodes: Callable[..., StartedNodes], tmp_path: Path
) -> None:
    robot = start_nodes(NodeSpec("arm_node", "ros_nodes.arm_node")).robot
    result = tmp_path / "latencies.json"
    command = [sys.executable, "-m", "ros_nodes.calibrate", "--duration", "8", "--json", str(result)]
    with LateArm(robot):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(result.read_text(encoding="utf-8"))
    assert found["arm"]["delay_s"] == pytest.approx(ARM_LATENCY_NS * 1e-9, abs=0.010)
    assert found["cameras"]["front"]["delay_s"] == pytest.approx(CAMERA_LATENCY_NS * 1e-9, abs=0.020)
    assert str(result) in done.stdout.splitlines()[-1]


def test_the_motion_begins_and_ends_at_rest_where_the_arm_was_found() -> None:
    found = np.array([*HOME_RAD, 0.04])
    motion = CalibrationMotion(10**9, 8.0, JOINTS, found, 2, 0.12)
    times_ns = np.arange(0, 10 * 10**9, 10**7, dtype=np.int64)
    angles = motion.angle(times_ns)
    outside = (times_ns <= motion.start_ns) | (times_ns >= motion.end_ns)
    assert (angles[outside] == found[2]).all()
    assert np.abs(np.diff(angles)).max() / 0.01 < 1.0  # rad/s: slow enough to be followed without lag
    chunk = motion.chunk(5 * 10**9)
    others = np.delete(np.arange(8), 2)
    np.testing.assert_allclose(chunk.positions[:, others], np.tile(found[others], (12, 1)), atol=1e-6)


@pytest.mark.parametrize(("amplitude_rad", "duration_s"), [(0.12, 12.0), (0.12, 5.0), (0.3, 60.0), (0.02, 7.3)])
def test_the_joint_swings_as_far_as_was_asked_and_no_farther(amplitude_rad: float, duration_s: float) -> None:
    found = np.array([*HOME_RAD, 0.04])
    motion = CalibrationMotion(10**9, duration_s, JOINTS, found, 0, amplitude_rad)
    swing = motion.angle(np.arange(10**9, motion.end_ns, 10**6, dtype=np.int64)) - found[0]
    assert np.abs(swing).max() == pytest.approx(amplitude_rad, rel=1e-4)


class ArmOnPaper:
    """A visitor to an arm_node that is not there: keeps what it is asked and answers as told."""

    def __init__(self, *, pause: str = "", arm: str = "", after_arm: Callable[[], None] = lambda: None) -> None:
        """``pause`` and ``arm``: why they are refused, "" not at all; ``after_arm``: happens as the arm is armed."""
        self.asked: list[str] = []
        self.send: Callable[[Any], None] = lambda _message: None
        self._refusals = {"arm_node/pause": pause, "arm_node/arm": arm}
        self._after_arm = after_arm
        self._takers: list[Callable[[Any], None]] = []
        self.node = SimpleNamespace(
            create_subscription=lambda _type, _topic, callback, _profile: self._takers.append(callback),
            create_publisher=lambda *_: SimpleNamespace(
                get_subscription_count=lambda: 1, publish=lambda message: self.send(message)
            ),
            count_publishers=lambda _topic: 1,
        )

    def turn(self, _seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        for take in self._takers:
            take(JointState(name=list(JOINTS), position=[*HOME_RAD, 0.04]))
        return until()

    def ask(self, _definition: Any, service: str, _request: Any, _seconds: float) -> Any:
        self.asked.append(service)
        if service == "arm_node/arm":
            self._after_arm()
        return SimpleNamespace(success=not self._refusals[service], message=self._refusals[service])


def calibrated(arm: ArmOnPaper) -> object:
    return measure(arm, JOINTS, JOINTS[0], (), 0.12, 5.0)  # type: ignore[arg-type]  # a visitor on paper


@pytest.mark.parametrize("pause", ["", "the arm is fault (contact): there is nothing to pause"])
def test_an_error_while_the_arm_is_armed_pauses_it_and_is_what_is_told(pause: str) -> None:
    arm = ArmOnPaper(pause=pause)

    def fail(_message: object) -> None:
        raise RuntimeError("the network is gone")

    arm.send = fail
    with pytest.raises(RuntimeError, match="network is gone"):
        calibrated(arm)
    assert arm.asked == ["arm_node/arm", "arm_node/pause"]


def test_ctrl_c_as_soon_as_the_arm_is_armed_pauses_it() -> None:
    arm = ArmOnPaper(after_arm=lambda: signal.raise_signal(signal.SIGINT))
    try:
        measured = calibrated(arm)
    except KeyboardInterrupt:
        pytest.fail("Ctrl-C was not taken up in good order")
    assert measured is None
    assert arm.asked == ["arm_node/arm", "arm_node/pause"]


def test_a_contact_during_the_swing_is_told() -> None:
    refusal = "the arm is fault (contact: joint 1): there is nothing to pause"
    with pytest.raises(GraphError, match="contact: joint 1"):
        calibrated(ArmOnPaper(pause=refusal, after_arm=lambda: signal.raise_signal(signal.SIGINT)))


def test_an_arm_that_refuses_to_be_armed_is_told_and_not_moved() -> None:
    arm = ArmOnPaper(arm="the dead-man is not held", pause="the arm is unarmed (): there is nothing to pause")
    sent: list[object] = []
    arm.send = sent.append
    with pytest.raises(GraphError, match="dead-man is not held"):
        calibrated(arm)
    assert sent == []
