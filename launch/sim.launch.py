"""The graph against MuJoCo: ``ros2 launch long_context_policy sim.launch.py bundle:=DIR task:=reach_cued``."""

from launch import LaunchDescription
from ros_nodes.graph import SimOptions, sim_graph
from ros_nodes.launch_graph import describe


def generate_launch_description() -> LaunchDescription:
    return describe(SimOptions, sim_graph)
