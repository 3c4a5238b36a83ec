"""The one graph description: the right nodes, consistent parameters, commands that ROS reads back as meant."""

import ast
import json
import sys
from pathlib import Path

import pytest
import yaml

from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.resources import resource
from ros_nodes.errors import GraphError, RosEnvironmentError
from ros_nodes.graph import (
    Graph,
    NodeSpec,
    RobotOptions,
    SimOptions,
    command_line,
    options_from,
    robot_graph,
    sim_graph,
)
from ros_nodes.parameters import check_parameters_file

SIM = SimOptions(bundle="/bundles/one", task="reach_cued", domain_id=3)
ROBOT = RobotOptions(bundle="/bundles/one", domain_id=3)


def node(graph: Graph, name: str) -> NodeSpec:
    return next(node for node in graph.nodes if node.name == name)


def test_the_simulated_graph_has_the_bridge_and_ends_with_it() -> None:
    graph = sim_graph(SIM)
    assert set(graph.names) == {"bridge_node", "history_node", "inference_node", "arm_node"}
    assert [node.name for node in graph.nodes if node.ends_run] == ["bridge_node"]


def test_every_policy_node_runs_the_same_bundle() -> None:
    for graph in (sim_graph(SIM), robot_graph(ROBOT)):
        bundles = {node.parameters["bundle"] for node in graph.nodes if "bundle" in node.parameters}
        assert bundles == {"/bundles/one"}


@pytest.mark.parametrize(("clock", "lockstep"), [("lockstep", True), ("real", False)])
def test_all_nodes_agree_on_the_clock(clock: str, lockstep: bool) -> None:
    graph = sim_graph(options_from(SimOptions, {"bundle": "b", "task": "t", "clock": clock, "domain_id": 3}))
    assert {node.parameters["use_sim_time"] for node in graph.nodes} == {lockstep}
    assert node(graph, "arm_node").parameters["lockstep"] == lockstep
    assert node(graph, "bridge_node").parameters["lockstep"] == lockstep
    assert (node(graph, "history_node").parameters.get("joint_skew_s") == 0.0) == lockstep


def test_the_schedule_reaches_inference_only_where_it_is_not_the_bundles() -> None:
    default = node(sim_graph(SIM), "inference_node").parameters
    assert "candidates" not in default and "replan_every_ticks" not in default
    for graph in (
        sim_graph(SimOptions(bundle="b", task="t", replan_every_ticks=3, candidates=10, domain_id=3)),
        robot_graph(RobotOptions(bundle="b", replan_every_ticks=3, candidates=10, domain_id=3)),
    ):
        parameters = node(graph, "inference_node").parameters
        assert (parameters["replan_every_ticks"], parameters["candidates"]) == (3, 10)


def test_an_adapter_reaches_inference() -> None:
    for graph in (
        sim_graph(SimOptions(bundle="b", task="t", adapters="/a.safetensors", adapter="a", domain_id=3)),
        robot_graph(RobotOptions(bundle="b", adapters="/a.safetensors", adapter="a", domain_id=3)),
    ):
        parameters = node(graph, "inference_node").parameters
        assert (parameters["adapters"], parameters["adapter"]) == ("/a.safetensors", "a")


def test_cameras_can_be_left_to_other_drivers() -> None:
    assert "camera_node" in robot_graph(ROBOT).names
    assert "camera_node" not in robot_graph(RobotOptions(bundle="b", cameras=False, domain_id=3)).names


def test_topics_of_other_controllers_are_remapped_on_both_sides() -> None:
    graph = robot_graph(
        RobotOptions(bundle="b", joint_states_topic="/left/joint_states", arm_topic="/left/arm", domain_id=3)
    )
    assert ("joint_states", "/left/joint_states") in node(graph, "history_node").remappings
    assert dict(node(graph, "arm_node").remappings) == {
        "joint_states": "/left/joint_states",
        "fr3_arm_controller/joint_trajectory": "/left/arm",
    }


def test_the_command_runs_the_module_with_this_python() -> None:
    spec = NodeSpec("n", "some.module", (Path("/a b.yaml"),), {"x": 1}, (("from", "to"),), ("--flag",))
    assert command_line(spec) == [
        *(sys.executable, "-m", "some.module", "--flag", "--ros-args", "-r", "__node:=n"),
        *("--params-file", "/a b.yaml", "-p", "x:=1", "-r", "from:=to"),
    ]


@pytest.mark.parametrize("value", [True, 3, 0.25, 1e-05, "12", "", "/a b/c: d", "true", 'quo"te'])
def test_parameter_values_keep_their_type_on_the_command_line(value: object) -> None:
    command = command_line(NodeSpec("n", "m", parameters={"x": value}))  # type: ignore[dict-item]
    text = command[command.index("-p") + 1].removeprefix("x:=")
    assert json.loads(text) == value
    assert type(json.loads(text)) is type(value)


def test_an_unknown_option_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigurationError, match="'episods'; did you mean 'episodes'"):
        options_from(SimOptions, {"bundle": "b", "task": "t", "episods": 3})


def test_a_run_of_no_episodes_is_refused() -> None:
    with pytest.raises(GraphError, match="episodes is 0"):
        sim_graph(SimOptions(bundle="b", task="t", episodes=0, domain_id=3))


def test_an_unusable_domain_is_refused() -> None:
    with pytest.raises(RosEnvironmentError, match="domain id 400"):
        sim_graph(SimOptions(bundle="b", task="t", domain_id=400))


def test_the_shipped_parameters_file_names_only_nodes_and_parameters_that_exist() -> None:
    content = yaml.safe_load(resource("config/nodes.yaml").read_text())
    for pattern, section in content.items():
        module = resource(f"ros_nodes/{pattern.rsplit('/', 1)[-1]}.py")
        calls = [c for c in ast.walk(ast.parse(module.read_text())) if isinstance(c, ast.Call)]
        declared = {
            c.args[0].value
            for c in calls
            if isinstance(c.func, ast.Name) and c.func.id == "ParameterSpec" and isinstance(c.args[0], ast.Constant)
        }
        assert set(section["ros__parameters"]) <= declared


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("histroy_node:\n  ros__parameters: {threads: 1}\n", "no node 'histroy_node'.*did you mean 'history_node'"),
        ("/**/arm_nod:\n  ros__parameters: {lockstep: true}\n", "no node 'arm_nod'.*did you mean 'arm_node'"),
        ("/ns:\n  arm_nod:\n    ros__parameters: {lockstep: true}\n", "no node 'arm_nod'.*did you mean 'arm_node'"),
    ],
)
def test_a_misspelt_node_in_a_parameters_file_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "nodes.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=complaint):
        check_parameters_file(file, ["history_node", "arm_node"])


def test_wildcards_in_a_parameters_file_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "nodes.yaml"
    file.write_text(
        "/**:\n  ros__parameters: {use_sim_time: true}\n/**/arm_node:\n  ros__parameters: {lockstep: true}\n"
    )
    check_parameters_file(file, ["arm_node"])
