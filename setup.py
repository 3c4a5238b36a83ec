"""Packaging for both lives: `pip install` from PyPI alone, and `colcon build` in an apt ROS 2 workspace."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "long_context_policy"
ROOT = Path(__file__).parent

# What the nodes need beside ROS and beside an inference engine.
RUNTIME = ["numpy", "opencv-python", "pydantic>=2", "PyYAML", "ruckig", "safetensors"]

# The inference engine: exactly one of them, since both install the same module `onnxruntime`.
CPU = ["onnxruntime"]
GPU = ["onnxruntime-gpu"]

WORLD = ["av", "matplotlib", "mink", "mujoco>=3.3", "pyarrow", "qpsolvers[daqp]", "rich", "tqdm"]

TRAIN = [
    "av",
    "matplotlib",
    "onnx",
    "onnxscript",
    "peft",
    "pyarrow",
    "scipy",
    "tensorboard",
    "torch==2.13.0",
    "tqdm",
]

# Spreads a study over several machines.
STUDY_RAY = ["ray"]

# ROS 2 as wheels, for machines without an apt ROS 2: Kilted for Python 3.11, Jazzy for 3.12.
ROS_MESSAGES = ["diagnostic", "geometry", "sensor", "std", "trajectory"]
ROS = [
    "ros-rclpy[fastrtps]~=9.1.2; python_version == '3.11'",
    "ros-rclpy[fastrtps]~=7.1.6; python_version == '3.12'",
    *(f"ros-{name}-msgs~=5.5.1; python_version == '3.11'" for name in ROS_MESSAGES),
    *(f"ros-{name}-msgs~=5.3.6; python_version == '3.12'" for name in ROS_MESSAGES),
    "ros-std-srvs~=5.5.1; python_version == '3.11'",
    "ros-std-srvs~=5.3.6; python_version == '3.12'",
]

TEST = ["hypothesis", "pytest", "pytest-timeout", "pytest-xdist"]
# What the benchmarks compare with.
PEERS = ["diffusers"]
DEV = [*TEST, *STUDY_RAY, *PEERS, "colcon-common-extensions", "mypy", "ruff", "setuptools<80", "types-PyYAML"]


def files_below(folder: str) -> list[tuple[str, list[str]]]:
    """``data_files`` entries that install a folder, with its structure, under ``share/``."""
    files = [path.relative_to(ROOT) for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    shipped = [path for path in files if not any(part.startswith((".", "__pycache__")) for part in path.parts)]
    folders = sorted({path.parent for path in shipped})
    return [(f"share/{PACKAGE}/{each}", [str(path) for path in shipped if path.parent == each]) for each in folders]


def executables() -> list[str]:
    return [str(path.relative_to(ROOT)) for path in sorted((ROOT / "scripts/executables").iterdir())]


setup(
    name=PACKAGE,
    version="0.1.0",
    description="Long-context diffusion policies on a Franka arm: ROS 2 deployment, MuJoCo bridge, training and export",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    author="The long_context_policy authors",
    author_email="long-context-policy@users.noreply.github.com",
    license="Apache-2.0",
    python_requires=">=3.11,<3.13",
    packages=find_packages(include=["policy_server*", "ros_nodes*", "sim_bridge*"]),
    package_data={"": ["*.xml", "*.yaml", "py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        # Not only console scripts: `ros2 run` and `ros2 launch` look in lib/<package>, where pip puts none.
        (f"lib/{PACKAGE}", executables()),
        *files_below("launch"),
        *files_below("config"),
        *files_below("bundles"),
    ],
    zip_safe=False,
    install_requires=RUNTIME,
    extras_require={
        "cpu": CPU,
        "gpu": GPU,
        "sim": [*WORLD, *CPU],
        "sim-gpu": [*WORLD, *GPU],
        "train": TRAIN,
        "study-ray": STUDY_RAY,
        "robot": ["franky-control", "pyrealsense2"],
        "ros": ROS,
        "test": TEST,
        "dev": DEV,
    },
    entry_points={
        "console_scripts": [
            "arm_node = ros_nodes.arm_node:main",
            "bridge_node = sim_bridge.bridge_node:main",
            "camera_node = ros_nodes.camera_node:main",
            "history_node = ros_nodes.history_node:main",
            "inference_node = ros_nodes.inference_node:main",
        ]
    },
)
