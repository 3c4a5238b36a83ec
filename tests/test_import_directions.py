"""Imports point one way: sim_bridge -> ros_nodes -> policy_server.runtime.

Lazy imports count, so the source is read, not run.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("policy_server", "ros_nodes", "sim_bridge")

ROS = (
    "rclpy",
    "ament_index_python",
    "launch",
    "launch_ros",
    "lifecycle_msgs",
    "rcl_interfaces",
    "rosidl_runtime_py",
    "action_msgs",
    "builtin_interfaces",
    "control_msgs",
    "diagnostic_msgs",
    "franka_msgs",
    "geometry_msgs",
    "rosgraph_msgs",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "tf2_msgs",
    "trajectory_msgs",
)
MUJOCO = ("mujoco", "mink", "glfw")
TORCH = ("torch", "torchvision", "peft", "onnxscript")
LEARNING = tuple(
    f"policy_server.{name}"
    for name in (
        *("model", "training", "train", "train_stages", "finetune", "muon", "lora", "export"),
        *("sweep", "ladder", "comparison", "compare_optimizers"),
    )
)
OFFLINE = (*LEARNING, "policy_server.dataset")

# module prefix -> what it may not import; every rule whose prefix fits applies
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "policy_server": ("ros_nodes", "sim_bridge", *ROS, *MUJOCO),
    "policy_server.runtime": (*TORCH, "onnx", *OFFLINE),
    "policy_server.dataset": (*TORCH, *LEARNING),
    "policy_server.muon": tuple(name for name in OFFLINE if name != "policy_server.muon"),
    "ros_nodes": ("sim_bridge", *MUJOCO, *TORCH, *OFFLINE),
    "ros_nodes.franka": ROS,
    "ros_nodes.camera": ROS,
    "sim_bridge": (*TORCH, *OFFLINE),
}


def module_name(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path, root: Path = ROOT) -> set[str]:
    """Full names of everything that a file imports anywhere in it, in functions too, relatively or dynamically."""
    package = list(path.relative_to(root).parts[:-1])
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        found.update(_names(node, package))
    return found


def _names(node: ast.AST, package: list[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join([*base, *([node.module] if node.module else [])])
        yield module
        yield from (f"{module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call):
        yield from _dynamic(node)


def _dynamic(call: ast.Call) -> Iterator[str]:
    """The module in ``import_module("x")``, ``__import__("x")`` and ``run_module("x")``."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name in ("import_module", "__import__", "run_module") and call.args and isinstance(call.args[0], ast.Constant):
        yield str(call.args[0].value)


def is_within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(f"{prefix}.")


def breaches(path: Path, root: Path = ROOT) -> list[str]:
    module = module_name(path, root)
    forbidden = {name for prefix, names in FORBIDDEN.items() if is_within(module, prefix) for name in names}
    return sorted(
        f"{module} imports {imported}"
        for imported in imported_modules(path, root)
        if any(is_within(imported, name) for name in forbidden)
    )


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: module_name(path))
def test_a_module_imports_only_what_its_room_allows(path: Path) -> None:
    assert breaches(path) == []


def test_there_are_modules_to_look_at() -> None:
    modules = {module_name(path) for path in sources()}
    assert {"policy_server.runtime.actions", "ros_nodes.franka.guard", "sim_bridge"} <= modules


@pytest.mark.parametrize(
    ("module", "source", "breach"),
    [
        ("policy_server.training.trainer", "from sensor_msgs.msg import Image", "sensor_msgs"),
        ("policy_server.training.trainer", "import ros_nodes.franka", "ros_nodes.franka"),
        ("policy_server.model.unet", "def f():\n    import mujoco", "mujoco"),
        ("policy_server.runtime.engine", "def f():\n    from torch import nn", "torch"),
        ("policy_server.runtime.engine", "from ..model import unet", "policy_server.model"),
        ("policy_server.runtime.engine", "from policy_server import export", "policy_server.export"),
        ("policy_server.runtime.engine", "import importlib\nimportlib.import_module('torch')", "torch"),
        ("policy_server.dataset.video", "import torch", "torch"),
        ("policy_server.muon.layers", "from policy_server.model import unet", "policy_server.model"),
        ("policy_server.muon.predicted", "from policy_server.ladder import laws", "policy_server.ladder"),
        ("sim_bridge.collect", "from policy_server.dataset import video", "policy_server.dataset"),
        ("ros_nodes.arm_node", "import sim_bridge", "sim_bridge"),
        ("ros_nodes.arm_node", "from policy_server.training import windows", "policy_server.training"),
        ("ros_nodes.franka.guard", "import rclpy.node", "rclpy.node"),
        ("ros_nodes.camera.source", "from std_msgs import msg", "std_msgs"),
        ("sim_bridge.collect", "if True:\n    import torch", "torch"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, module: str, source: str, breach: str) -> None:
    path = tmp_path / Path(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    assert any(found.startswith(f"{module} imports {breach}") for found in breaches(path, tmp_path))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ros_nodes.arm_node", "import rclpy\nfrom policy_server.runtime.actions import ActionChunk"),
        ("policy_server.training.trainer", "import torch\nfrom ..runtime import windows"),
        ("sim_bridge.collect", "import mujoco\nfrom ros_nodes.franka.guard import Guard"),
    ],
)
def test_what_the_rooms_allow_is_no_breach(tmp_path: Path, module: str, source: str) -> None:
    path = tmp_path / Path(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    assert breaches(path, tmp_path) == []
