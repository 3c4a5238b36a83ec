"""What is seen on a domain where a robot, a camera and a controller really run."""

import threading
import time

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from ros_nodes import qos, topics
from ros_nodes.doctor.listen import listen
from ros_nodes.doctor.settings import DoctorSettings
from ros_nodes.lifecycle import leave_domain
from tests.ros_nodes.fake_robot import FakeRobot, Streaming

pytestmark = pytest.mark.ros

JOINTS = [f"fr3_joint{index}" for index in range(1, 8)]


class StandInController:
    """A node with the arm controller's name, topic and parameters, and a service where its manager has one."""

    def __init__(self, domain_id: int) -> None:
        self._context = Context()
        rclpy.init(args=[], context=self._context, domain_id=domain_id, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("fr3_arm_controller", context=self._context)
        self._node.declare_parameter("joints", JOINTS)
        self._node.declare_parameter("command_interfaces", ["effort"])
        self._node.create_subscription(JointTrajectory, topics.ARM_TRAJECTORY, lambda m: None, qos.JOINT_TRAJECTORY)
        self._node.create_service(Trigger, "/controller_manager/list_controllers", lambda request, response: response)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._ended.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()
        del self._node, self._executor
        leave_domain()
        rclpy.shutdown(context=self._context)


def test_pictures_joints_controllers_and_parameters_are_seen(domain_id: int) -> None:
    robot, controller = FakeRobot(domain_id), StandInController(domain_id)
    try:
        with Streaming(robot, rate_hz=20.0):
            time.sleep(0.5)
            view = listen(DoctorSettings(domain_id=domain_id, listen_s=1.5), ["front", "wrist"])
    finally:
        controller.close()
        robot.close()
    assert {"fake_robot", "fr3_arm_controller"} <= set(view.nodes) and "doctor" not in view.nodes
    assert len(view.images["front"]) > 5 and view.images["wrist"] == ()
    assert (view.images["front"][0].width, view.images["front"][0].encoding) == (96, "rgb8")
    assert view.joint_states[-1].positions["fr3_joint4"] == pytest.approx(-2.356)
    assert "fr3_arm_controller" in view.subscribers[topics.ARM_TRAJECTORY]
    assert view.publishers["/clock"] == ("fake_robot",)
    assert view.arm_parameters == {"joints": tuple(JOINTS), "command_interfaces": ("effort",)}
    assert "/controller_manager/list_controllers" in view.services


def test_an_empty_domain_is_empty(domain_id: int) -> None:
    view = listen(DoctorSettings(domain_id=domain_id, listen_s=0.5), ["front"])
    assert view.nodes == () and view.images["front"] == () and view.joint_states == () and view.controllers is None
