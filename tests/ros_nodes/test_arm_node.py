"""arm_node alone, with a policy and an operator of a few lines on the other side of its topics."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.clock import NS_PER_S
from ros_nodes import messages, qos, topics
from ros_nodes.graph import NodeSpec, ParameterValue
from tests.ros_nodes.conftest import StartedNodes
from tests.ros_nodes.fake_robot import READY, FakeRobot
from tests.synthetic_bundle import JOINTS

pytestmark = pytest.mark.ros

Start = Callable[..., StartedNodes]
CONFIGURE = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))


def arm_node(**parameters: ParameterValue) -> NodeSpec:
    return NodeSpec("arm_node", "ros_nodes.arm_node", parameters=parameters)


class Policy:
    """Publishes joint states and chunks in real time, in a thread, until left."""

    def __init__(self, robot: FakeRobot) -> None:
        self.bundle_hash = "a" * 64
        self.silent = False
        self.held: bool | None = None
        self._robot = robot
        self._chunks = robot.node.create_publisher(JointTrajectory, topics.ACTION_CHUNK, qos.ACTION_CHUNK)
        self._dead_man = robot.node.create_publisher(Bool, topics.DEAD_MAN, qos.DEAD_MAN)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Policy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            now_ns = time.time_ns()
            self._robot.state_joints(now_ns)
            if self.held is not None:
                self._dead_man.publish(Bool(data=self.held))
            if not self.silent:
                steps = np.tile(np.array(READY, np.float32), (8, 1))
                chunk = ActionChunk(now_ns, NS_PER_S // 10, JOINTS, steps)
                self._chunks.publish(messages.chunk_to_trajectory(chunk, self.bundle_hash))


def command(robot: FakeRobot, name: str) -> Trigger.Response:
    return robot.call(Trigger, f"arm_node/{name}", Trigger.Request(), repeat_s=5.0)


def arm_until_accepted(robot: FakeRobot) -> None:
    robot.wait_for(lambda: command(robot, "arm").success, "the arm to be armed")


def trajectories(robot: FakeRobot) -> int:
    return len(robot.received[topics.ARM_TRAJECTORY])


def state(robot: FakeRobot) -> str:
    reports = [report.message for report in robot.reports_of("arm_node") if report.name == "arm_node: arm"]
    return reports[-1] if reports else ""


def counted(robot: FakeRobot, name: str) -> int:
    reports = [report for report in robot.reports_of("arm_node") if report.name == "arm_node: guard"]
    return int(next((item.value for item in reports[-1].values if item.key == name), 0)) if reports else 0


def test_nothing_is_published_before_the_arm_is_armed_and_a_pause_needs_arming_again(start_nodes: Start) -> None:
    robot = start_nodes(arm_node()).robot
    with Policy(robot):
        robot.wait_for(lambda: state(robot).startswith("unarmed"), "a report")
        assert not trajectories(robot)
        arm_until_accepted(robot)
        robot.wait_for(lambda: trajectories(robot) > 5, "trajectories")
        assert command(robot, "pause").success
        robot.wait_for(lambda: state(robot).startswith("holding: paused"), "the pause")
        arm_until_accepted(robot)
        robot.wait_for(lambda: state(robot).startswith("running"), "motion")


def test_what_the_arm_says_of_itself_is_seen_before_any_chunk_comes(start_nodes: Start) -> None:
    robot = start_nodes(arm_node()).robot

    def mode() -> str:
        robot.state_joints(time.time_ns())
        reports = [report for report in robot.reports_of("arm_node") if report.name == "arm_node: arm"]
        return next((item.value for item in reports[-1].values if item.key == "mode"), "") if reports else ""

    robot.wait_for(lambda: mode() == "idle", "a reading of the arm")


def test_an_arm_node_that_is_not_active_says_so_and_obeys_nothing(start_nodes: Start) -> None:
    robot = start_nodes(arm_node(autostart=False)).robot
    assert robot.call(ChangeState, "arm_node/change_state", CONFIGURE).success
    for name in ("arm", "pause", "stop"):
        answer = command(robot, name)
        assert not answer.success and "not active" in answer.message
    robot.wait_for(lambda: robot.reports_of("arm_node"), "a report")


def test_a_stop_latches_and_recovery_makes_the_others_forget_before_the_arm_can_be_armed(start_nodes: Start) -> None:
    robot = start_nodes(arm_node()).robot
    forgotten: list[str] = []

    def forget(name: str) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
        def answer(_request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            forgotten.append(name)
            response.success = True
            return response

        return answer

    for name in ("history_node/reset", "inference_node/reset"):
        robot.node.create_service(Trigger, name, forget(name))
    with Policy(robot):
        arm_until_accepted(robot)
        robot.wait_for(lambda: trajectories(robot) > 5, "trajectories")
        assert command(robot, "stop").success
        refused = command(robot, "arm")
        assert not refused.success and "stopped by the operator" in refused.message
        robot.wait_for(lambda: state(robot).startswith("fault"), "the fault")
        assert not forgotten
        robot.wait_for(lambda: command(robot, "recover").success, "the recovery")
        assert set(forgotten) == {"history_node/reset", "inference_node/reset"}
        count = trajectories(robot)
        robot.wait_for(lambda: state(robot).startswith("unarmed: recovered"), "the state")
        assert trajectories(robot) == count
        arm_until_accepted(robot)
        robot.wait_for(lambda: trajectories(robot) > count, "trajectories after the recovery")


def test_without_its_dead_man_switch_the_arm_is_not_armed_and_does_not_go_on(start_nodes: Start) -> None:
    robot = start_nodes(arm_node(dead_man=True, auto_resume=True)).robot
    with Policy(robot) as policy:
        robot.wait_for(lambda: state(robot).startswith("unarmed"), "a report")
        refused = command(robot, "arm")
        assert not refused.success and "dead-man" in refused.message
        policy.held = True
        arm_until_accepted(robot)
        robot.wait_for(lambda: state(robot).startswith("running"), "motion")
        policy.held = False
        robot.wait_for(lambda: "released" in state(robot), "the hold")
        policy.held = True
        arm_until_accepted(robot)
        robot.wait_for(lambda: state(robot).startswith("running"), "motion again")


def test_chunks_of_another_bundle_are_counted_and_the_watchdog_holds_the_arm(start_nodes: Start) -> None:
    robot = start_nodes(arm_node(auto_arm=True, auto_resume=True)).robot
    with Policy(robot) as policy:
        robot.wait_for(lambda: state(robot).startswith("running"), "motion")
        policy.bundle_hash = "b" * 64
        robot.wait_for(lambda: counted(robot, "other_bundle") > 2, "refusals")
        robot.wait_for(lambda: state(robot).startswith("holding: watchdog"), "the watchdog")
        assert any("the arm follows aaaa" in report.message for report in robot.reports_of("arm_node"))
        policy.bundle_hash = "a" * 64
        robot.wait_for(lambda: state(robot).startswith("running"), "motion again")
