"""The nodes as processes over real topics, each with a robot of a few lines on the other side."""

import dataclasses
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import Image

from policy_server.runtime.clock import NS_PER_S
from ros_nodes import messages, topics
from ros_nodes.graph import NodeSpec, ParameterValue
from tests.ros_nodes.conftest import StartedNodes
from tests.ros_nodes.fake_robot import READY, FakeRobot, Streaming
from tests.synthetic_bundle import JOINTS, write_synthetic_bundle

pytestmark = pytest.mark.ros

PERIOD_NS = NS_PER_S // 10
Start = Callable[..., StartedNodes]


def spec(name: str, **parameters: ParameterValue) -> NodeSpec:
    return NodeSpec(name, f"ros_nodes.{name}", parameters=parameters)


def graph_of(bundle: Path, *, lockstep: bool = False, **of_history: ParameterValue) -> tuple[NodeSpec, ...]:
    """History, inference and arm."""
    exact: dict[str, ParameterValue] = {"joint_skew_s": 0.0, "use_sim_time": True} if lockstep else {}
    return (
        spec("history_node", bundle=str(bundle), **{**exact, **of_history}),
        spec("inference_node", bundle=str(bundle), use_sim_time=lockstep),
        spec("arm_node", lockstep=lockstep, use_sim_time=lockstep, auto_arm=True, auto_resume=True),
    )


def play_episode(robot: FakeRobot, first_ns: int, ticks: int) -> list[tuple[list[list[float]], list[list[float]]]]:
    """Ticks in lockstep with joints that follow the answers; returns positions and velocities of each answer."""
    answers = []
    joints = np.array(READY)
    for stamp_ns in range(first_ns, first_ns + ticks * PERIOD_NS, PERIOD_NS):
        robot.tick(stamp_ns, joints.tolist())
        targets = messages.trajectory_to_targets(robot.answer_to(stamp_ns))
        assert targets.velocities is not None
        answers.append((targets.positions.tolist(), targets.velocities.tolist()))
        joints[:7] = targets.positions[np.searchsorted(targets.times_ns, stamp_ns + PERIOD_NS)]
    return answers


def test_pictures_of_a_camera_become_motion_of_the_arm(start_nodes: Start, bundle: Path, tmp_path: Path) -> None:
    colour = (200, 100, 50)
    picture = np.full((96, 96, 3), colour, np.uint8)
    cv2.imwrite(str(tmp_path / "0.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    cameras = tmp_path / "cameras.yaml"
    cameras.write_text(
        f"cameras:\n  - {{name: front, kind: folder, source: {tmp_path}, width: 96, height: 96, rate_hz: 30.0, loop: true}}\n"
    )
    started = start_nodes(spec("camera_node", cameras_file=str(cameras)), *graph_of(bundle), cameras=())
    robot = started.robot
    with Streaming(robot, rate_hz=50.0):
        arm = robot.wait_for(lambda: robot.received[topics.ARM_TRAJECTORY], "a trajectory of the arm")[-1]
        gripper = robot.wait_for(lambda: robot.received[topics.GRIPPER_TRAJECTORY], "a trajectory of the gripper")[-1]
        context = messages.image_to_context(robot.received[topics.POLICY_CONTEXT][-1])[0]
    np.testing.assert_allclose(context.rows[-1, 1:4], np.array(colour) / 255, atol=1e-6)
    np.testing.assert_allclose(context.rows[-1, 4:], READY, atol=1e-6)
    targets = messages.trajectory_to_targets(arm)
    assert targets.joints == JOINTS[:7]
    assert np.abs(targets.positions - READY[:7]).max() < 0.05
    assert messages.trajectory_to_targets(gripper).joints == JOINTS[7:]


def test_the_same_episode_gives_the_same_trajectories_bit_for_bit(start_nodes: Start, bundle: Path) -> None:
    robot = start_nodes(*graph_of(bundle, lockstep=True)).robot
    robot.warm_up()
    first = play_episode(robot, NS_PER_S, ticks=12)
    for node in ("history_node", "inference_node", "arm_node"):
        robot.call_reset(node)
    assert play_episode(robot, 100 * NS_PER_S, ticks=12) == first
    assert len({str(answer) for answer in first}) > 1


def test_inference_says_how_well_its_candidates_agree_with_what_was_executed(start_nodes: Start, bundle: Path) -> None:
    history, inference, arm = graph_of(bundle, lockstep=True)
    inference = dataclasses.replace(inference, parameters={**inference.parameters, "candidates": 5})
    robot = start_nodes(history, inference, arm).robot
    robot.warm_up()
    play_episode(robot, NS_PER_S, ticks=6)

    def newest() -> dict[str, str]:
        reports = [r for r in robot.reports_of("inference_node") if r.name == "inference_node: verification"]
        return {item.key: item.value for item in reports[-1].values} if reports else {}

    robot.wait_for(lambda: newest().get("past_error", "none") != "none", "a verified sample")
    assert newest()["candidates"] == "5"
    assert float(newest()["past_error"]) >= 0
    assert float(newest()["past_error_spread"]) > 0
    robot.call_reset("inference_node")
    robot.wait_for(lambda: newest()["past_error"] == "none", "the report after the reset")


def test_a_tick_that_is_shown_again_gets_the_same_answer_again(start_nodes: Start, bundle: Path) -> None:
    robot = start_nodes(*graph_of(bundle, lockstep=True)).robot
    robot.warm_up()
    play_episode(robot, NS_PER_S, ticks=3)
    answered = len(robot.received[topics.ARM_TRAJECTORY])
    robot.tick(NS_PER_S + 2 * PERIOD_NS)
    robot.wait_for(lambda: len(robot.received[topics.ARM_TRAJECTORY]) > answered, "the answer once more")
    before, again = robot.received[topics.ARM_TRAJECTORY][answered - 1 : answered + 1]
    assert again == before
    play_episode(robot, NS_PER_S + 3 * PERIOD_NS, ticks=1)


def test_the_arm_comes_to_rest_and_holds_when_inference_is_killed(start_nodes: Start, bundle: Path) -> None:
    started = start_nodes(*graph_of(bundle))
    robot = started.robot
    with Streaming(robot):
        robot.wait_for(lambda: robot.received[topics.ARM_TRAJECTORY], "the arm to move")
        os.kill(started.process("inference_node").pid, signal.SIGKILL)
        robot.wait_for(
            lambda: any("watchdog" in report.message for report in robot.reports_of("arm_node")),
            "the watchdog's report",
        )
        count = len(robot.received[topics.ARM_TRAJECTORY])
        robot.wait_for(lambda: len(robot.received[topics.ARM_TRAJECTORY]) > count + 20, "trajectories that hold")
    # Every trajectory ends at rest, so that the controller needs nothing more to stop.
    for message in robot.received[topics.ARM_TRAJECTORY]:
        assert not any(message.points[-1].velocities)
    held = [messages.trajectory_to_targets(message) for message in robot.received[topics.ARM_TRAJECTORY][-10:]]
    for targets in held:
        assert targets.velocities is not None and not targets.velocities.any()
        np.testing.assert_array_equal(targets.positions, np.broadcast_to(held[0].positions[0], targets.positions.shape))
    assert started.process("inference_node").status == -signal.SIGKILL


def test_set_points_reach_the_arm_without_a_gap(start_nodes: Start, bundle: Path) -> None:
    robot = start_nodes(*graph_of(bundle)).robot
    with Streaming(robot):
        robot.wait_for(lambda: len(robot.received[topics.ARM_TRAJECTORY]) > 50, "a second of trajectories")
    positions_by_time: dict[int, list[float]] = {}
    for message in robot.received[topics.ARM_TRAJECTORY]:
        targets = messages.trajectory_to_targets(message)
        assert (np.diff(targets.times_ns) == NS_PER_S // 100).all()
        first_ns, last_ns = int(targets.times_ns[0]), targets.stamp_ns
        assert 0 < first_ns - last_ns <= NS_PER_S // 100
        # What the next trajectory repeats must be what this one said, until the tail that it replaces.
        for time_ns, row in zip(targets.times_ns[:2].tolist(), targets.positions[:2].tolist(), strict=True):
            assert positions_by_time.setdefault(time_ns, row) == row


def test_after_a_reset_the_arm_is_taken_over_only_once_it_rests(start_nodes: Start, bundle: Path) -> None:
    robot = start_nodes(*graph_of(bundle)).robot
    with Streaming(robot, rate_hz=50.0) as stream:
        robot.wait_for(lambda: robot.received[topics.ARM_TRAJECTORY], "the arm to be taken over")
        stream.positions = [0.5, *READY[1:]]  # the synthetic policy goes where the joints say they are
        robot.wait_for(lambda: max(robot.received[topics.ARM_TRAJECTORY][-1].points[0].velocities) > 0.2, "motion")
        before_reset_ns = time.time_ns()
        robot.call_reset("arm_node")
        after_reset_ns = time.time_ns()
        robot.answer_to(after_reset_ns)
    trajectories = [messages.trajectory_to_targets(message) for message in robot.received[topics.ARM_TRAJECTORY]]
    before = [targets for targets in trajectories if targets.stamp_ns < before_reset_ns][-1]
    after = next(targets for targets in trajectories if targets.stamp_ns > after_reset_ns)
    assert before.velocities is not None and before.velocities.max() > 0.2
    assert after.stamp_ns >= before.times_ns[-1]
    np.testing.assert_allclose(after.positions[0], [0.5, *READY[1:7]], atol=1e-3)


@pytest.mark.parametrize(
    ("complaint", "disturb"),
    [
        ("camera 'front': stamp .* before the newest one", lambda robot, now_ns: robot.show(now_ns - NS_PER_S)),
        (
            "camera 'front' gave uint8 .*48, 48, 3",
            lambda robot, now_ns: robot.show(now_ns, np.zeros((48, 48, 3), np.uint8)),
        ),
        (
            "camera 'front' sends encoding '16UC1'",
            lambda robot, now_ns: robot.show_message(Image(encoding="16UC1", height=96, width=96)),
        ),
        ("joint_states: stamp .* before the newest one", lambda robot, now_ns: robot.state_joints(now_ns - NS_PER_S)),
        ("joint_states lacks fr3_joint7", lambda robot, now_ns: robot.state_joints(now_ns, [0.0] * 6, JOINTS[:6])),
        ("joint_states gives nan for fr3_joint1", lambda robot, now_ns: robot.state_joints(now_ns, [float("nan")] * 8)),
    ],
    ids=["stamps-backwards", "size", "encoding", "joint-stamps-backwards", "joint-missing", "nan"],
)
def test_bad_input_puts_history_in_the_error_state_and_names_it(
    start_nodes: Start, bundle: Path, complaint: str, disturb: Callable[[FakeRobot, int], None]
) -> None:
    started = start_nodes(spec("history_node", bundle=str(bundle)))
    robot = started.robot
    with Streaming(robot):
        robot.wait_for(lambda: robot.received[topics.POLICY_CONTEXT], "a context")
    disturb(robot, time.time_ns())
    assert re.search(complaint, robot.wait_for_error("history_node"))
    assert robot.state_of("history_node") == "unconfigured"
    errors = [line for line in started.lines if "[ERROR]" in line]
    assert len(errors) == 1 and re.search(complaint, errors[0])


def test_joints_in_another_order_are_sorted_by_name(start_nodes: Start, bundle: Path) -> None:
    robot = start_nodes(*graph_of(bundle, lockstep=True)).robot
    robot.warm_up()
    robot.tell_time(NS_PER_S)
    robot.state_joints(NS_PER_S, READY[::-1], JOINTS[::-1])
    robot.show(NS_PER_S)
    targets = messages.trajectory_to_targets(robot.answer_to(NS_PER_S))
    np.testing.assert_allclose(targets.positions[0], READY[:7], atol=1e-3)
    context = messages.image_to_context(robot.answer_to(NS_PER_S, topics.POLICY_CONTEXT))[0]
    np.testing.assert_allclose(context.rows[-1, 4:], READY, atol=1e-6)


def test_silence_is_reported_and_ends_when_input_comes_back(start_nodes: Start, bundle: Path) -> None:
    robot = start_nodes(spec("history_node", bundle=str(bundle), stale_after_s=0.3, max_gap_s=60.0)).robot
    with Streaming(robot):
        robot.wait_for(lambda: robot.received[topics.POLICY_CONTEXT], "a context")
    assert "camera 'front': nothing for" in robot.wait_for_error("history_node")
    assert robot.state_of("history_node") == "active"
    with Streaming(robot):
        count = len(robot.received[topics.POLICY_CONTEXT])
        robot.wait_for(lambda: len(robot.received[topics.POLICY_CONTEXT]) > count, "contexts after the silence")
        robot.wait_for(lambda: all(r.level == b"\x00" for r in robot.reports_of("history_node")[-2:]), "an OK report")


def test_a_silence_that_tears_the_memory_ends_in_the_error_state(start_nodes: Start, bundle: Path) -> None:
    robot = start_nodes(spec("history_node", bundle=str(bundle), max_gap_s=0.5)).robot
    with Streaming(robot):
        robot.wait_for(lambda: robot.received[topics.POLICY_CONTEXT], "a context")
    time.sleep(1.0)
    with Streaming(robot):
        robot.wait_for(lambda: robot.state_of("history_node") == "unconfigured", "the error state")
    assert any("torn memory" in report.message for report in robot.reports_of("history_node"))


def test_a_context_of_another_bundle_is_refused(start_nodes: Start, bundle: Path, tmp_path: Path) -> None:
    other = write_synthetic_bundle(tmp_path / "other", future_steps=8)
    robot = start_nodes(spec("history_node", bundle=str(other)), spec("inference_node", bundle=str(bundle))).robot
    with Streaming(robot):
        message = robot.wait_for_error("inference_node")
    assert "another" not in message and "the same bundle" in message
    assert robot.state_of("inference_node") == "unconfigured"
    assert not robot.received[topics.ACTION_CHUNK]


def test_a_node_in_the_error_state_can_be_brought_back(start_nodes: Start, bundle: Path) -> None:
    robot = start_nodes(spec("history_node", bundle=str(bundle))).robot
    with Streaming(robot):
        robot.wait_for(lambda: robot.received[topics.POLICY_CONTEXT], "a context")
    robot.show(time.time_ns() - NS_PER_S)
    robot.wait_for_error("history_node")
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        request = ChangeState.Request(transition=Transition(id=transition))
        assert robot.call(ChangeState, "history_node/change_state", request).success
    robot.received[topics.POLICY_CONTEXT].clear()
    with Streaming(robot):
        robot.wait_for(lambda: robot.received[topics.POLICY_CONTEXT], "a context after the error")


def test_without_autostart_a_node_waits_for_transitions(start_nodes: Start, bundle: Path) -> None:
    robot = start_nodes(spec("history_node", bundle=str(bundle), autostart=False)).robot
    assert robot.state_of("history_node") == "unconfigured"
    # It also says so by itself, once a second.
    robot.wait_for(lambda: robot.reports_of("history_node"), "a report")
    walk = (
        (Transition.TRANSITION_CONFIGURE, "inactive"),
        (Transition.TRANSITION_ACTIVATE, "active"),
        (Transition.TRANSITION_DEACTIVATE, "inactive"),
        (Transition.TRANSITION_ACTIVATE, "active"),
        (Transition.TRANSITION_DEACTIVATE, "inactive"),
        (Transition.TRANSITION_CLEANUP, "unconfigured"),
    )
    for transition, state in walk:
        assert robot.call(
            ChangeState, "history_node/change_state", ChangeState.Request(transition=Transition(id=transition))
        ).success
        assert robot.state_of("history_node") == state


@pytest.mark.parametrize(
    ("node", "complaint"),
    [
        (spec("history_node", bundle="/x", thread=2), "no parameter 'thread'; did you mean 'threads'?"),
        (
            spec("history_node", bundle="/x", threads="two"),
            "'threads' is 'two', it takes a whole number between 1 and 64",
        ),
        (spec("history_node", bundle="/x", stale_after_s=-1.0), "'stale_after_s' is -1.0"),
        (spec("inference_node", bundle="/nowhere"), "no bundle at '/nowhere'"),
        (spec("inference_node"), "parameter 'bundle' is not set"),
        (spec("inference_node", bundle="/x", candidates=-1), "'candidates' is -1"),
        (spec("arm_node", arm_file="/nowhere.yaml"), "no file '/nowhere.yaml'"),
        (spec("arm_node", command_period_s=0.1), "lookahead_s 0.04: the set-points would end before the next command"),
        (spec("arm_node", robot="fr4"), "unknown robot 'fr4'; did you mean 'fr3'?"),
        (spec("camera_node", cameras_file="/nowhere.yaml"), "no file '/nowhere.yaml'"),
    ],
    ids=lambda value: value.name if isinstance(value, NodeSpec) else "",
)
def test_a_node_that_cannot_start_ends_with_one_line(domain_id: int, node: NodeSpec, complaint: str) -> None:
    started = StartedNodes([node], domain_id)
    ended = started.running.wait(timeout_s=30.0)
    started.close()
    assert ended is not None and ended.status == 2
    assert complaint in ended.epitaph()
    assert len([line for line in started.lines if "ERROR" in line]) == 1
    assert not any("Traceback" in line for line in started.lines)


@pytest.mark.parametrize(("name", "module"), [("history_node", "ros_nodes"), ("bridge_node", "sim_bridge")])
def test_a_bundle_that_reads_features_is_refused(tmp_path: Path, domain_id: int, name: str, module: str) -> None:
    bundle = write_synthetic_bundle(tmp_path / "bundle", cameras=(), features=("lamp_red", "lamp_green", "lamp_blue"))
    parameters: dict[str, ParameterValue] = {"bundle": str(bundle)}
    if name == "bridge_node":
        parameters |= {"task": "reach_cued", "output_dir": str(tmp_path), "exit_on_error": True}
    started = StartedNodes([NodeSpec(name, f"{module}.{name}", parameters=parameters)], domain_id)
    ended = started.running.wait(timeout_s=30.0)
    started.close()
    assert ended is not None and ended.status == 2
    assert "reads features, which no topic carries" in ended.epitaph()
    assert "python -m sim_bridge.evaluate" in ended.epitaph()
