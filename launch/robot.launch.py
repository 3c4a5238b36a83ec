"""The graph on a robot: ``ros2 launch long_context_policy robot.launch.py bundle:=DIR cameras_file:=FILE``.

Beside ``franka_ros2`` as it is; from pip alone through libfranka with ``backend:=franky robot_address:=172.16.0.2``.
"""

from launch import LaunchDescription
from ros_nodes.graph import RobotOptions, robot_graph
from ros_nodes.launch_graph import describe


def generate_launch_description() -> LaunchDescription:
    return describe(RobotOptions, robot_graph)
