"""The checks by name, in the order in which they are made."""

from collections.abc import Callable
from dataclasses import dataclass

from policy_server.runtime.errors import PolicyError
from ros_nodes import environment
from ros_nodes.doctor.bundle_fit import check_bundle
from ros_nodes.doctor.cameras import check_cameras
from ros_nodes.doctor.clocks import check_clock_source, check_clock_steps, check_ros_time, check_time_service
from ros_nodes.doctor.controllers import check_controllers
from ros_nodes.doctor.examination import Examination
from ros_nodes.doctor.files import check_nodes_file, parameters_of
from ros_nodes.doctor.finding import Finding, Level, skip
from ros_nodes.doctor.graph_view import GraphView
from ros_nodes.doctor.image_loop import judge_loop, run_loop
from ros_nodes.doctor.inference import check_engine, check_speed, find_engine
from ros_nodes.doctor.joints import check_joint_states
from ros_nodes.doctor.realtime import check_realtime
from ros_nodes.doctor.robot import check_robot, installed_libfranka
from ros_nodes.doctor.ros_installation import check_neighbours, check_ros
from ros_nodes.doctor.safety import check_safety
from ros_nodes.doctor.settings import DoctorSettings
from ros_nodes.doctor.transport import check_transport

_OUR_NODES = ("history_node", "inference_node", "arm_node")
_DEFAULT_SKEW_S = 0.05
_NO_ROS = "ROS 2 is not usable, see above"


@dataclass(frozen=True)
class Check:
    """A group of findings: its name for ``--only``, what it says of itself, how long it takes."""

    name: str
    about: str
    seconds: Callable[[DoctorSettings], float]
    run: Callable[[Examination], list[Finding]]


def _ros(examination: Examination) -> list[Finding]:
    settings = examination.settings
    findings = check_ros(examination.user_environment, examination.installation, settings.domain_id)
    view = examination.view
    return findings if view is None else [*findings, check_neighbours(view.nodes, _OUR_NODES)]


def _transport(examination: Examination) -> list[Finding]:
    spec = examination.loop_spec
    return check_transport(examination.user_environment, 3 * spec.width * spec.height)


def _images(examination: Examination) -> list[Finding]:
    if examination.view is None:
        return [skip("image loop", _NO_ROS)]
    variables = environment.graph_environment(examination.settings.domain_id, examination.user_environment)
    spec = examination.loop_spec
    return judge_loop(spec, run_loop(spec, examination.user_environment, variables))


def _clocks(examination: Examination) -> list[Finding]:
    view = examination.view
    ros_time = skip("ROS time", _NO_ROS) if view is None else check_ros_time(view.publishers.get("/clock", ()))
    return [check_clock_steps(), check_clock_source(examination.system), check_time_service(), ros_time]


def _realtime(examination: Examination) -> list[Finding]:
    settings = examination.settings
    drives_arm = bool(settings.robot_address) or settings.backend == "franky"
    return check_realtime(examination.system, drives_arm and settings.require_realtime)


def _files(examination: Examination) -> list[Finding]:
    nodes_file = examination.settings.file("nodes")
    finding, guard = examination.arm_file
    safety = [] if guard is None else check_safety(guard, nodes_file)
    if not examination.installation.importable:
        return [finding, skip("nodes file", _NO_ROS), *safety]
    from ros_nodes.doctor.node_parameters import known_parameters

    return [finding, check_nodes_file(nodes_file, known_parameters()), *safety]


def _cameras(examination: Examination) -> list[Finding]:
    cameras, view, settings = examination.cameras, examination.view, examination.settings
    if isinstance(cameras, Finding):
        return [cameras]
    return check_cameras(cameras, view or GraphView(), settings.cameras, settings.listen_s)


def _joints(examination: Examination) -> list[Finding]:
    settings, view, guard = examination.settings, examination.view, examination.arm_file[1]
    if view is None or guard is None:
        return [skip("joint states", _NO_ROS if view is None else "the arm file does not read, see above")]
    needed = settings.backend == "trajectory_topic"
    return check_joint_states(
        view.joint_states, guard.limits, settings.joint_states_topic, needed, _joint_skew_s(settings)
    )


def _joint_skew_s(settings: DoctorSettings) -> float:
    """``history_node``'s tolerance, as the nodes file sets it."""
    try:
        return float(parameters_of(settings.file("nodes"), "history_node")["joint_skew_s"])
    except (PolicyError, KeyError, TypeError, ValueError):
        return _DEFAULT_SKEW_S


def _controllers(examination: Examination) -> list[Finding]:
    view, guard = examination.view, examination.arm_file[1]
    if view is None or guard is None:
        return [skip("controllers", _NO_ROS if view is None else "the arm file does not read, see above")]
    return check_controllers(view, examination.settings, guard.limits.joints[:-1])


def _robot(examination: Examination) -> list[Finding]:
    return check_robot(
        examination.settings.robot_address, installed_libfranka(), examination.system, hand=examination.settings.hand
    )


def _inference(examination: Examination) -> list[Finding]:
    findings = check_engine(find_engine(), examination.settings.provider, examination.system)
    if any(finding.level == Level.FAIL for finding in findings):
        return findings
    bundle = examination.bundle
    if isinstance(bundle, Finding):
        return [*findings, skip(f"a chunk on {examination.settings.provider}", "no bundle to try")]
    return [*findings, check_speed(bundle, examination.settings.provider)]


def _bundle(examination: Examination) -> list[Finding]:
    bundle, cameras, guard = examination.bundle, examination.cameras, examination.arm_file[1]
    if isinstance(bundle, Finding):
        return [bundle]
    if isinstance(cameras, Finding) or guard is None:
        return [skip("bundle", "the cameras file or the arm file does not read, see above")]
    return check_bundle(bundle, cameras, guard)


CHECKS = (
    Check("ros", "ROS 2, middleware, domain, who is on it", lambda s: s.listen_s + 1.0, _ros),
    Check("transport", "DDS profile, shared memory, interfaces", lambda s: 0.1, _transport),
    Check("images", "a real loop of pictures between two processes", lambda s: s.image_s + 3.0, _images),
    Check("clocks", "steps, source, time service, ROS time", lambda s: 1.1, _clocks),
    Check("realtime", "kernel, limits, governor, cores", lambda s: 0.1, _realtime),
    Check("files", "arm.yaml and nodes.yaml: every name, workspace, arming", lambda s: 0.5, _files),
    Check("cameras", "pictures, rates, stamps", lambda s: s.listen_s if s.cameras else 0.1, _cameras),
    Check("joints", "joint states: names, positions, rate, stamps", lambda s: 0.1, _joints),
    Check("controllers", "controllers, gripper, error recovery", lambda s: 0.1, _controllers),
    Check(
        "robot", "the arm's address, version, packets; moves nothing", lambda s: 2.0 if s.robot_address else 0.1, _robot
    ),
    Check("inference", "engine, provider, time for a chunk", lambda s: 2.0, _inference),
    Check("bundle", "the bundle against cameras, joints, rate", lambda s: 0.1, _bundle),
)
