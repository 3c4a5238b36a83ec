"""One tree installs two ways: `pip install` and `colcon build`; the Makefile starts from a bare machine."""

import ast
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "long_context_policy"
NODES = ("arm_node", "bridge_node", "camera_node", "history_node", "inference_node")
TREE = (
    "LICENSE",
    "README.md",
    "bundles",
    "config",
    "launch",
    "package.xml",
    "policy_server",
    "pyproject.toml",
    "resource",
    "ros_nodes",
    "scripts",
    "setup.cfg",
    "setup.py",
    "sim_bridge",
)


def copy_tree(destination: Path) -> Path:
    """The files that make up the package, without this checkout's build folders."""
    destination.mkdir(parents=True)
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, destination / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif source.exists():
            shutil.copy2(source, destination / name)
    return destination


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **variables}
    return subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False
    )


def setup_py(*query: str) -> list[str]:
    result = run([sys.executable, "setup.py", "--quiet", *query], ROOT)
    assert result.returncode == 0, result.stderr
    return [line for line in result.stdout.splitlines() if line]


@pytest.fixture(scope="session")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of PKG-INFO as pip would see it."""
    folder = copy_tree(tmp_path_factory.mktemp("metadata") / "tree")
    result = run([sys.executable, "setup.py", "--quiet", "egg_info"], folder)
    assert result.returncode == 0, result.stderr
    return (folder / f"{PACKAGE}.egg-info" / "PKG-INFO").read_text(encoding="utf-8")


def requirements(metadata: str, extra: str) -> set[str]:
    """Names of the packages that an extra adds, over all Python versions."""
    lines = re.findall(r"^Requires-Dist: (.*)$", metadata, flags=re.MULTILINE)
    chosen = [line for line in lines if re.search(rf"""extra == ['"]{re.escape(extra)}['"]""", line)]
    return {re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0].lower() for line in chosen}


def test_package_xml_and_setup_py_agree() -> None:
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    stated = [str(manifest.findtext(tag)).strip() for tag in ("name", "version", "description", "license")]
    assert stated == setup_py("--name", "--version", "--description", "--license")


def test_package_xml_names_every_ros_package_that_the_nodes_import() -> None:
    declared = {element.text for element in ElementTree.parse(ROOT / "package.xml").getroot().iter("exec_depend")}
    imported: set[str] = set()
    for path in [*ROOT.glob("ros_nodes/**/*.py"), *ROOT.glob("sim_bridge/**/*.py"), *ROOT.glob("launch/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    messages = {name for name in imported if name.endswith(("_msgs", "_srvs", "_interfaces"))}
    assert messages, "no message package is imported: this test looks in the wrong place"
    assert messages <= declared
    assert "rclpy" in declared


def test_the_extras_hold_what_their_names_promise(metadata: str) -> None:
    assert requirements(metadata, "sim") >= {"mujoco", "mink", "onnxruntime"}
    assert "torch" in requirements(metadata, "train")
    assert requirements(metadata, "gpu") == {"onnxruntime-gpu"}
    assert requirements(metadata, "robot") == {"franky-control", "pyrealsense2"}
    assert requirements(metadata, "ros") >= {"ros-rclpy", "ros-sensor-msgs", "ros-trajectory-msgs", "ros-std-srvs"}
    assert requirements(metadata, "dev") >= {"pytest", "hypothesis", "ruff", "mypy", "colcon-common-extensions"}


@pytest.mark.parametrize("extra", ["sim", "sim-gpu", "ros", "robot", "cpu", "gpu"])
def test_only_training_needs_torch(metadata: str, extra: str) -> None:
    assert not requirements(metadata, extra) & {"torch", "onnx", "onnxscript", "peft"}


def test_the_two_inference_engines_never_come_together(metadata: str) -> None:
    unconditional = re.findall(r"^Requires-Dist: ([^;]*)$", metadata, flags=re.MULTILINE)
    assert unconditional
    assert not [line for line in unconditional if line.startswith("onnxruntime")]
    for extra in re.findall(r"^Provides-Extra: (.*)$", metadata, flags=re.MULTILINE):
        assert not requirements(metadata, extra) >= {"onnxruntime", "onnxruntime-gpu"}


def test_every_direct_requirement_is_pinned(metadata: str) -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {name.lower() for name in re.findall(r"^([A-Za-z0-9_.-]+)==", text, flags=re.MULTILINE)}
    required = re.findall(r"^Requires-Dist: ([A-Za-z0-9_.-]+)", metadata, flags=re.MULTILINE)
    assert required
    assert {name.lower() for name in required} - pinned == set()


def test_every_node_has_an_executable_for_ros2_run() -> None:
    for node in NODES:
        script = ROOT / "scripts" / "executables" / node
        assert os.access(script, os.X_OK)
        module = re.findall(r"^from (\S+) import main$", script.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert [name.split(".")[-1] for name in module] == [node]
        assert (ROOT / Path(*module[0].split("."))).with_suffix(".py").exists()


@pytest.mark.slow
def test_colcon_builds_and_installs_the_package(tmp_path: Path) -> None:
    copy_tree(tmp_path / "src" / PACKAGE)
    result = run(["colcon", "--log-base", "log", "build", "--event-handlers", "console_direct+"], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    prefix = tmp_path / "install" / PACKAGE
    for node in NODES:
        assert os.access(prefix / "lib" / PACKAGE / node, os.X_OK)
    share = prefix / "share" / PACKAGE
    assert (share / "package.xml").exists()
    assert (prefix / "share/ament_index/resource_index/packages" / PACKAGE).exists()
    for folder in ("launch", "config", "bundles"):
        shipped = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file() and is_shipped(path)}
        installed = {path.relative_to(share) for path in (share / folder).rglob("*") if path.is_file()}
        assert installed == shipped
    packages = next(prefix.glob("lib/python*/site-packages"))
    for name in ("policy_server", "ros_nodes", "sim_bridge"):
        shipped = {path.relative_to(ROOT) for path in (ROOT / name).rglob("*") if path.is_file() and is_shipped(path)}
        assert shipped <= {path.relative_to(packages) for path in (packages / name).rglob("*")}


def is_shipped(path: Path) -> bool:
    return not any(part.startswith((".", "__pycache__")) for part in path.relative_to(ROOT).parts)


def test_make_help_lists_the_targets() -> None:
    result = run(["make", "help"], ROOT)
    assert result.returncode == 0
    for target in ("sim", "test", "check", "bench", "clean"):
        assert re.search(rf"^  make {target} +\w", result.stdout, flags=re.MULTILINE)


def test_make_without_a_target_is_help() -> None:
    assert run(["make"], ROOT).stdout == run(["make", "help"], ROOT).stdout


def test_make_sim_installs_no_training_packages() -> None:
    plan = run(["make", "--dry-run", "sim", "TASK=shell_game", "EPISODES=2", "SEED=7"], ROOT).stdout
    assert re.search(r"scripts/setup\.sh sim ros$", plan, flags=re.MULTILINE)
    assert "-m sim_bridge.sim --task 'shell_game' --episodes '2' --seed '7'" in plan


# --- scripts/setup.sh, in a copy of its own, with stand-ins for everything that would change this machine -------------

LIBRARIES = "libEGL.so.1 libGL.so.1 libglib-2.0.so.0"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("scripts", "constraints.txt", "setup.py", "pyproject.toml"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, tmp_path / name)
    script(tmp_path, "tools/ldconfig", f"echo {LIBRARIES}")
    script(tmp_path, "tools/apt-get", "exit 1")
    script(tmp_path, "tools/sudo", "exit 1")
    return tmp_path


def script(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def with_an_environment(checkout: Path, pip: str = "exit 0") -> Path:
    """A stand-in for .venv/bin/python that writes down what pip is asked for; returns that log."""
    log = checkout / "pip.log"
    script(
        checkout,
        ".venv/bin/python",
        f'case "$2" in\n  "import sys"*) echo 3.11 ;;\n  pip) echo "$@" >> {log}; {pip} ;;\nesac',
    )
    return log


def setup(checkout: Path, *extras: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{checkout / 'tools'}:{os.environ['PATH']}"
    return run(["scripts/setup.sh", *extras], checkout, **{"PATH": path, "VENV": ".venv", **variables})


@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_a_python_without_ros_wheels_is_refused_in_one_line(checkout: Path, version: str) -> None:
    python = script(checkout, "old/python3", f"case \"$2\" in 'import ensurepip, venv') ;; *) echo {version} ;; esac")
    result = setup(checkout, "sim", PYTHON=str(python))
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"error: {python} is Python {version}, the ROS 2 wheels need 3.11 or 3.12: name another one with "
        "PYTHON=/path/to/python3.11"
    ]
    assert not (checkout / ".venv").exists()


def test_a_second_setup_installs_nothing_and_a_new_extra_or_pin_does(checkout: Path) -> None:
    log = with_an_environment(checkout)
    assert setup(checkout, "sim", "ros").returncode == 0
    assert "--constraint constraints.txt --editable .[sim,ros]" in log.read_text(encoding="utf-8")
    second = setup(checkout, "sim", "ros")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert len(log.read_text(encoding="utf-8").splitlines()) == 1
    assert setup(checkout, "sim", "ros", "dev").returncode == 0
    assert len(log.read_text(encoding="utf-8").splitlines()) == 2
    with (checkout / "constraints.txt").open("a", encoding="utf-8") as constraints:
        constraints.write("another-package==1.0\n")
    assert setup(checkout, "sim").returncode == 0
    assert len(log.read_text(encoding="utf-8").splitlines()) == 3


def test_a_failed_installation_is_tried_again(checkout: Path) -> None:
    log = with_an_environment(checkout, pip="exit 1")
    for _ in range(2):
        result = setup(checkout, "sim")
        assert result.returncode == 1
        assert "pip could not install" in result.stderr
    assert len(log.read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs without asking")
def test_missing_debian_packages_are_installed_by_root(checkout: Path) -> None:
    with_an_environment(checkout)
    done, log = checkout / "installed", checkout / "apt.log"
    script(checkout, "tools/ldconfig", f"echo libGL.so.1; test ! -e {done} || echo {LIBRARIES}")
    script(checkout, "tools/apt-get", f'echo "$@" >> {log}; case "$*" in install*) touch {done} ;; esac')
    result = setup(checkout, "sim")
    assert result.returncode == 0, result.stderr
    assert "install -y -qq --no-install-recommends libegl1 libglib2.0-0" in log.read_text(encoding="utf-8")


def test_missing_packages_that_cannot_be_installed_are_named_in_one_line(checkout: Path) -> None:
    with_an_environment(checkout)
    script(checkout, "tools/ldconfig", "echo libGL.so.1")
    result = setup(checkout, "sim")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert re.search(r"libegl1.* libglib2\.0-0", result.stderr)
