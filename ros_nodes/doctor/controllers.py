"""Controllers and gripper: is the one that the guard speaks to there, active, and driven through an interface that is safe?"""

import difflib
import importlib.util
from collections.abc import Sequence

from ros_nodes.doctor.finding import Finding, fail, ok, skip, warn
from ros_nodes.doctor.graph_view import GraphView
from ros_nodes.doctor.settings import DoctorSettings

_OURS = "arm_node"
RECOVERY_ACTION = "action_server/error_recovery"


def check_controllers(view: GraphView, settings: DoctorSettings, arm_joints: Sequence[str]) -> list[Finding]:
    """Findings about who takes the guard's trajectories; with the franky backend nobody does."""
    if settings.backend == "franky":
        return [skip("controllers", "the franky backend needs none")]
    return [
        _listener("arm trajectories", settings.arm_topic, view, "start the robot's controllers, or correct arm_topic"),
        _one_commander(view, settings),
        _arm_controller(view, settings),
        *_arm_parameters(view, settings, arm_joints),
        *_gripper(view, settings),
        _robot_state(view, settings),
        _recovery(view),
    ]


def _listener(name: str, topic: str, view: GraphView, mend: str) -> Finding:
    listeners = view.subscribers.get(topic, ())
    if not listeners:
        return fail(name, f"nobody listens to {topic}", mend)
    if len(listeners) > 1:
        return warn(
            name, f"{', '.join(listeners)} listen to {topic}", "only one of them may drive this arm; stop the others"
        )
    return ok(name, f"{listeners[0]} listens to {topic}")


def _one_commander(view: GraphView, settings: DoctorSettings) -> Finding:
    """Whoever else publishes trajectories passes the guard."""
    name = "who commands the arm"
    others = sorted(set(view.publishers.get(settings.arm_topic, ())) - {_OURS})
    if others:
        return fail(
            name, f"{', '.join(others)} publishes to {settings.arm_topic}", "stop it: what it sends passes no guard"
        )
    return ok(name, "nobody but arm_node")


def _arm_controller(view: GraphView, settings: DoctorSettings) -> Finding:
    name, wanted = "arm controller", settings.arm_controller
    if view.controllers is None:
        answers = any(service.endswith(f"{settings.controller_manager}/list_controllers") for service in view.services)
        if answers:
            return skip(
                name,
                "its state cannot be read without controller_manager_msgs",
                "look at: ros2 control list_controllers",
            )
        return warn(name, f"no controller manager '{settings.controller_manager}'", "start the robot's controllers")
    states = {controller.name: controller.state for controller in view.controllers}
    if wanted not in states:
        near = difflib.get_close_matches(wanted, states, n=1)
        mend = (
            f"did you mean arm_topic={near[0]}/joint_trajectory?"
            if near
            else f"loaded are: {', '.join(states) or 'none'}"
        )
        return fail(name, f"no '{wanted}'", mend)
    if states[wanted] != "active":
        return fail(name, f"'{wanted}' is {states[wanted]}", f"ros2 control switch_controllers --activate {wanted}")
    return ok(name, f"'{wanted}' is active")


def _arm_parameters(view: GraphView, settings: DoctorSettings, arm_joints: Sequence[str]) -> list[Finding]:
    if not view.arm_parameters:
        found = f"{settings.arm_controller} does not tell its parameters"
        return [skip("arm controller's joints", found)]
    joints, interfaces = (view.arm_parameters.get(key, ()) for key in ("joints", "command_interfaces"))
    findings = [
        ok("arm controller's joints", f"{joints[0]} … {joints[-1]}")
        if tuple(joints) == tuple(arm_joints)
        else fail(
            "arm controller's joints",
            ", ".join(joints) or "none",
            f"the guard sends {', '.join(arm_joints)}: take robot=fr3 or fer as it is, and the controller's YAML to match",
        )
    ]
    name = "arm controller's interface"
    if "position" in interfaces:
        mend = "use effort: through the position interface its output is not rate-limited and causes reflexes"
        return [*findings, fail(name, ", ".join(interfaces), mend)]
    return [*findings, ok(name, ", ".join(interfaces) or "not stated")]


def _gripper(view: GraphView, settings: DoctorSettings) -> list[Finding]:
    if not settings.hand:
        return []
    if settings.gripper == "trajectory":
        mend = "start the gripper's controller, or gripper=action for franka_ros2's; hand=false where none is mounted"
        return [_listener("gripper", settings.gripper_topic, view, mend)]
    name, action = "gripper", settings.gripper_action.strip("/")
    if not _has_action(view, action):
        offered = sorted({s.split("/_action/")[0] for s in view.services if "/_action/" in s and "gripper" in s})
        mend = (
            f"gripper_action is one of {', '.join(offered)}" if offered else "start the gripper's node (franka_gripper)"
        )
        return [fail(name, f"no action {action}", mend)]
    if not _is_installed("control_msgs"):
        return [fail(name, "control_msgs is not installed", "apt: ros-<distro>-control-msgs; the wheels have none")]
    return [ok(name, f"action {action}")]


def _robot_state(view: GraphView, settings: DoctorSettings) -> Finding:
    """Without it the guard sees neither the arm's mode nor the forces at its hand."""
    name, topic = "robot state", settings.robot_state_topic
    if not view.publishers.get(topic):
        mend = "load franka_robot_state_broadcaster; without it neither a reflex nor a contact force is seen"
        return warn(name, f"nobody publishes {topic}", mend)
    if not _is_installed("franka_msgs"):
        return warn(name, f"{topic}, but franka_msgs is not installed here", "build franka_msgs in this workspace")
    return ok(name, topic)


def _recovery(view: GraphView) -> Finding:
    name = "error recovery"
    if not _has_action(view, RECOVERY_ACTION):
        return warn(
            name,
            f"no action {RECOVERY_ACTION}",
            "start franka_bringup; until then an arm in a reflex is recovered in Desk",
        )
    missing = [package for package in ("franka_msgs", "controller_manager_msgs") if not _is_installed(package)]
    if missing:
        mend = "install it in this workspace; until then an arm in a reflex is recovered in Desk"
        return warn(name, f"not installed here: {', '.join(missing)}", mend)
    return ok(name, f"action {RECOVERY_ACTION}")


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _has_action(view: GraphView, action: str) -> bool:
    return any(service.strip("/").endswith(f"{action}/_action/send_goal") for service in view.services)
