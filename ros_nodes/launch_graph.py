"""The graph as ``ros2 launch`` actions: arguments mirror the options, and any node's exit ends the launch.

Only the files in ``launch/`` import this module; ``launch`` and ``launch_ros`` come with an apt ROS 2.
"""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

# To a type checker, `launch` is this project's own folder of launch files.
from launch import LaunchContext, LaunchDescription  # type: ignore[attr-defined]
from ros_nodes.errors import GraphError
from ros_nodes.graph import Graph, NodeSpec, options_from
from ros_nodes.start import check

OptionsT = TypeVar("OptionsT")


def describe(options_class: type[OptionsT], make_graph: Callable[[OptionsT], Graph]) -> LaunchDescription:
    """A launch description with one argument per option; the graph is made when the arguments are known."""

    def start(context: LaunchContext) -> list[Node]:
        values = {field.name: LaunchConfiguration(field.name).perform(context) for field in fields}
        graph = make_graph(options_from(options_class, values))
        check(graph)
        return [_action(node, graph) for node in graph.nodes]

    fields = dataclasses.fields(options_class)  # type: ignore[arg-type]
    return LaunchDescription([*map(_argument, fields), OpaqueFunction(function=start)])


def _argument(field: "dataclasses.Field[Any]") -> DeclareLaunchArgument:
    default: Any = None
    if field.default is not dataclasses.MISSING:
        default = str(field.default)
    elif field.default_factory is not dataclasses.MISSING:
        default = str(field.default_factory())
    return DeclareLaunchArgument(field.name, default_value=default)


def _action(node: NodeSpec, graph: Graph) -> Node:
    return Node(
        executable=sys.executable,
        arguments=["-m", node.module, *node.arguments],
        name=node.name,
        exec_name=node.name,
        parameters=[*map(str, node.parameters_files), dict(node.parameters)],
        remappings=list(node.remappings),
        additional_env=dict(graph.environment),
        output="screen",
        on_exit=_end_launch(node),
    )


def _end_launch(node: NodeSpec) -> Callable[[ProcessExited, LaunchContext], Shutdown]:
    """What to do when a node has ended. Only an error gives ``ros2 launch`` a non-zero exit status."""

    def end(event: ProcessExited, context: LaunchContext) -> Shutdown:
        if not (context.is_shutdown or (node.ends_run and event.returncode == 0)):
            raise GraphError(f"the run ended because {node.name} ended with status {event.returncode}")
        return Shutdown(reason="the run is complete")

    return end
