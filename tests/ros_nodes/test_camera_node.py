"""camera_node over real topics: frames of several cameras, cameras that are absent, and one that goes and comes back."""

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import Image

from ros_nodes import messages, qos, topics
from ros_nodes.graph import NodeSpec
from tests.ros_nodes.conftest import StartedNodes

pytestmark = pytest.mark.ros

WIDTH, HEIGHT = 32, 24


def write_picture(folder: Path, colour: tuple[int, int, int]) -> Path:
    folder.mkdir(exist_ok=True)
    image = np.full((HEIGHT, WIDTH, 3), colour, np.uint8)
    cv2.imwrite(str(folder / "0.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return folder


def camera_node(tmp_path: Path, *cameras: str) -> NodeSpec:
    file = tmp_path / "cameras.yaml"
    file.write_text("cameras:\n" + "".join(f"  - {{{camera}, rate_hz: 20.0, loop: true}}\n" for camera in cameras))
    return NodeSpec("camera_node", "ros_nodes.camera_node", parameters={"cameras_file": str(file)})


def folder_camera(name: str, folder: Path, width: int = WIDTH) -> str:
    return f"name: {name}, kind: folder, source: {folder}, width: {width}, height: {HEIGHT}"


def frames_of(started: StartedNodes, *cameras: str) -> dict[str, list[Image]]:
    """Every frame from now on, by camera."""
    frames: dict[str, list[Image]] = {camera: [] for camera in cameras}
    for camera in cameras:
        started.robot.node.create_subscription(
            Image, topics.camera_image(camera), frames[camera].append, qos.CAMERA_IMAGE
        )
    return frames


def test_every_camera_publishes_its_own_pictures_with_rising_stamps(
    start_nodes: Callable[..., StartedNodes], tmp_path: Path
) -> None:
    colours = {"front": (255, 0, 0), "wrist": (0, 0, 255)}
    cameras = [folder_camera(name, write_picture(tmp_path / name, colour)) for name, colour in colours.items()]
    started = start_nodes(camera_node(tmp_path, *cameras), cameras=())
    frames = frames_of(started, *colours)
    for name, colour in colours.items():
        started.robot.wait_for(lambda name=name: len(frames[name]) >= 5, f"frames of {name}")
        for message in frames[name]:
            assert (messages.image_to_rgb(message, name) == colour).all()
            assert message.header.frame_id == name
        stamps_ns = [messages.stamp_to_ns(message.header.stamp) for message in frames[name]]
        assert (np.diff(stamps_ns) > 0).all()


def test_a_camera_that_goes_is_reported_and_comes_back(
    start_nodes: Callable[..., StartedNodes], tmp_path: Path
) -> None:
    folder = write_picture(tmp_path / "front", (9, 9, 9))
    robot = (started := start_nodes(camera_node(tmp_path, folder_camera("front", folder)), cameras=())).robot
    frames = frames_of(started, "front")["front"]
    robot.wait_for(lambda: frames, "a frame")
    (folder / "0.png").unlink()
    assert "camera 'front'" in robot.wait_for_error("camera_node")
    assert robot.state_of("camera_node") == "active"
    count = len(frames)
    write_picture(folder, (9, 9, 9))
    robot.wait_for(lambda: len(frames) > count, "frames after the camera came back")
    report = robot.wait_for(
        lambda: next((r for r in reversed(robot.reports_of("camera_node")) if "camera front" in r.name), None),
        "a report",
    )
    assert int({value.key: value.value for value in report.values}["reconnects"]) <= 1


@pytest.mark.parametrize(
    ("camera", "complaint"),
    [
        (
            "name: front, kind: device, source: /dev/video97, width: 4, height: 4",
            "camera 'front'.*no device '/dev/video97'",
        ),
        (
            "name: front, kind: folder, source: {folder}, width: 31, height: 24",
            "gives 32 x 24 pixels, configured are 31 x 24",
        ),
    ],
    ids=["absent", "size"],
)
def test_a_camera_that_cannot_be_used_ends_the_node_with_one_line(
    domain_id: int, tmp_path: Path, camera: str, complaint: str
) -> None:
    camera = camera.replace("{folder}", str(write_picture(tmp_path / "front", (1, 2, 3))))
    started = StartedNodes([camera_node(tmp_path, camera)], domain_id)
    ended = started.running.wait(timeout_s=30.0)
    started.close()
    assert ended is not None and ended.status == 2
    assert re.search(complaint, ended.epitaph())
