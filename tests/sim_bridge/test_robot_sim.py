"""The graphs against the loopback robot."""

from ros_nodes.graph import Graph, NodeSpec, RobotOptions, RobotSimOptions, robot_graph, robot_sim_graph
from sim_bridge.soak.operator import OFFERED_CHUNKS
from sim_bridge.soak.run import soak_graph

OPTIONS = RobotSimOptions(bundle="bundles/reach_cued", task="reach_cued", robot_address="127.0.0.9", domain_id=5)


def node(graph: Graph, name: str) -> NodeSpec:
    return next(each for each in graph.nodes if each.name == name)


def test_the_mirror_stands_in_for_the_cameras_and_libfranka_moves_the_arm() -> None:
    graph = robot_sim_graph(OPTIONS)
    assert set(graph.names) == {"mirror_node", "history_node", "inference_node", "arm_node"}
    arm = node(graph, "arm_node").parameters
    assert (arm["backend"], arm["robot_address"], arm["require_realtime"]) == ("franky", "127.0.0.9", False)


def test_a_real_arm_is_armed_by_hand_and_asks_for_real_time() -> None:
    arm = node(
        robot_graph(RobotOptions(bundle="b", backend="franky", robot_address="172.16.0.2")), "arm_node"
    ).parameters
    assert (arm["backend"], arm["robot_address"], arm["require_realtime"]) == ("franky", "172.16.0.2", True)
    assert not arm.get("auto_arm", False)
    assert not arm.get("auto_resume", False)


def test_in_a_soak_every_chunk_goes_through_the_operators_hands_and_the_arm_obeys_him() -> None:
    graph = soak_graph(OPTIONS)
    assert ("policy/action_chunk", OFFERED_CHUNKS) in node(graph, "inference_node").remappings
    assert node(graph, "arm_node").remappings == ()
    arm = node(graph, "arm_node").parameters
    assert (arm["auto_arm"], arm["auto_resume"]) == (False, False)
