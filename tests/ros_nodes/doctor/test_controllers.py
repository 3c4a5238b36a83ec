"""Controllers, gripper and recovery, judged from what the domain shows."""

from dataclasses import replace

import pytest

from ros_nodes import robot_recovery
from ros_nodes.doctor import controllers
from ros_nodes.doctor.controllers import check_controllers
from ros_nodes.doctor.finding import Finding, Level
from ros_nodes.doctor.graph_view import Controller, GraphView
from ros_nodes.doctor.settings import DoctorSettings

JOINTS = tuple(f"fr3_joint{index}" for index in range(1, 8))
SETTINGS = DoctorSettings(domain_id=0, gripper="action")
ARM, RECOVERY = SETTINGS.arm_topic, "/action_server/error_recovery/_action/send_goal"
READY = GraphView(
    nodes=("fr3_arm_controller",),
    publishers={ARM: ("arm_node",), SETTINGS.robot_state_topic: ("franka_robot_state_broadcaster",)},
    subscribers={ARM: ("fr3_arm_controller",)},
    services=("/controller_manager/list_controllers", "/franka_gripper/gripper_action/_action/send_goal", RECOVERY),
    controllers=(Controller("fr3_arm_controller", "active", "joint_trajectory_controller/JointTrajectoryController"),),
    arm_parameters={"joints": JOINTS, "command_interfaces": ("effort",)},
)


@pytest.fixture(autouse=True)
def with_every_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message packages of an apt ROS 2 and of franka_ros2, which no wheel brings."""
    monkeypatch.setattr(controllers, "_is_installed", lambda package: True)


def found(view: GraphView, settings: DoctorSettings = SETTINGS) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_controllers(view, settings, JOINTS)}


def test_a_robot_that_is_ready_passes() -> None:
    assert {finding.level for finding in found(READY).values()} == {Level.OK}


def test_nobody_who_listens_fails_and_two_warn() -> None:
    assert found(replace(READY, subscribers={}))["arm trajectories"].level == Level.FAIL
    two = replace(READY, subscribers={ARM: ("fr3_arm_controller", "recorder")})
    assert found(two)["arm trajectories"].level == Level.WARN


def test_whoever_passes_the_guard_is_named() -> None:
    finding = found(replace(READY, publishers={ARM: ("arm_node", "rqt_joint_trajectory")}))["who commands the arm"]
    assert finding.level == Level.FAIL and "rqt_joint_trajectory" in finding.found


def test_an_inactive_controller_fails_with_the_command_that_activates_it() -> None:
    finding = found(replace(READY, controllers=(Controller("fr3_arm_controller", "inactive", "x"),)))["arm controller"]
    assert finding.level == Level.FAIL and finding.mend.endswith("--activate fr3_arm_controller")


def test_a_controller_of_another_name_is_suggested() -> None:
    finding = found(replace(READY, controllers=(Controller("fer_arm_controller", "active", "x"),)))["arm controller"]
    assert finding.level == Level.FAIL and "arm_topic=fer_arm_controller/joint_trajectory" in finding.mend


def test_a_manager_whose_messages_are_not_here_is_skipped_and_none_warns() -> None:
    assert found(replace(READY, controllers=None))["arm controller"].level == Level.SKIP
    assert found(replace(READY, controllers=None, services=()))["arm controller"].level == Level.WARN


def test_the_position_interface_fails_since_it_causes_reflexes() -> None:
    parameters = {"joints": JOINTS, "command_interfaces": ("position",)}
    finding = found(replace(READY, arm_parameters=parameters))["arm controller's interface"]
    assert finding.level == Level.FAIL and "effort" in finding.mend


def test_a_controller_of_another_robot_or_order_fails() -> None:
    turned = {"joints": JOINTS[::-1], "command_interfaces": ("effort",)}
    assert found(replace(READY, arm_parameters=turned))["arm controller's joints"].level == Level.FAIL


def test_a_gripper_under_another_name_is_offered() -> None:
    other = replace(READY, services=("/fr3_gripper/gripper_action/_action/send_goal", RECOVERY))
    finding = found(other)["gripper"]
    assert finding.level == Level.FAIL and "/fr3_gripper/gripper_action" in finding.mend


def test_a_gripper_driven_by_trajectories_needs_somebody_who_listens() -> None:
    settings = replace(SETTINGS, gripper="trajectory")
    assert found(READY, settings)["gripper"].level == Level.FAIL
    listening = replace(READY, subscribers={**READY.subscribers, SETTINGS.gripper_topic: ("gripper_controller",)})
    assert found(listening, settings)["gripper"].level == Level.OK


def test_an_arm_without_a_hand_has_no_gripper_to_look_at() -> None:
    assert "gripper" not in found(replace(READY, services=()), replace(SETTINGS, hand=False))


def test_an_arm_that_does_not_state_its_mode_warns() -> None:
    assert found(replace(READY, publishers={}))["robot state"].level == Level.WARN


def test_without_the_recovery_a_person_must_go_to_the_robot() -> None:
    assert found(replace(READY, services=()))["error recovery"].level == Level.WARN


def test_packages_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controllers, "_is_installed", lambda package: False)
    findings = found(READY)
    assert findings["gripper"].level == Level.FAIL and "control_msgs" in findings["gripper"].found
    assert findings["error recovery"].found == "not installed here: franka_msgs, controller_manager_msgs"
    assert findings["robot state"].level == Level.WARN


def test_the_recovery_is_the_one_that_the_arm_node_asks_for() -> None:
    assert robot_recovery.ACTION.strip("/") == controllers.RECOVERY_ACTION


def test_the_franky_backend_needs_no_controller() -> None:
    (finding,) = check_controllers(GraphView(), replace(SETTINGS, backend="franky"), JOINTS)
    assert finding.level == Level.SKIP
