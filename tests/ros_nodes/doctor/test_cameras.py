"""Cameras: looked at on their topic where somebody publishes it, else opened as camera_node would."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from policy_server.runtime.clock import NS_PER_MS, NS_PER_S
from ros_nodes.camera.settings import CameraSettings
from ros_nodes.doctor.cameras import check_cameras, judge_arrivals
from ros_nodes.doctor.finding import Finding, Level
from ros_nodes.doctor.graph_view import GraphView, ImageArrival

BEGIN_NS = 1_700_000_000 * NS_PER_S
FRONT = CameraSettings("front", "device", "/dev/no-such-video", 640, 480, 30.0)


def arrivals(width: int = 640, height: int = 480, encoding: str = "rgb8", count: int = 30) -> tuple[ImageArrival, ...]:
    stamps = [BEGIN_NS + index * NS_PER_S // 30 for index in range(count)]
    return tuple(ImageArrival(stamp, stamp + 5 * NS_PER_MS, width, height, encoding) for stamp in stamps)


def levels(findings: list[Finding]) -> set[Level]:
    return {finding.level for finding in findings}


def test_a_topic_with_good_pictures_passes_without_opening_the_camera() -> None:
    view = GraphView(images={"front": arrivals()})
    assert levels(check_cameras([FRONT], view, open_directly=True, seconds=0.1)) == {Level.OK}


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (arrivals(width=1280, height=720), "configured are 640 x 480"),
        (arrivals(encoding="yuv422"), "rgb8, bgr8, mono8"),
        (arrivals(count=1), "log"),
    ],
)
def test_pictures_of_another_form_fail(pictures: tuple[ImageArrival, ...], message: str) -> None:
    first = judge_arrivals(FRONT, pictures)[0]
    assert first.level == Level.FAIL and message in first.mend


def test_a_silent_topic_fails_where_another_driver_is_to_publish() -> None:
    (finding,) = check_cameras([FRONT], GraphView(), open_directly=False, seconds=3.0)
    assert finding.level == Level.FAIL and finding.found == "nothing on camera/front/image_raw in 3 s"


def test_a_camera_that_is_not_plugged_in_is_named_with_the_mend() -> None:
    (finding,) = check_cameras([FRONT], GraphView(), open_directly=True, seconds=0.1)
    assert finding.level == Level.FAIL
    assert finding.name == "camera 'front'" and finding.found.startswith("no device '/dev/no-such-video'")
    assert "plug it in" in finding.mend


def folder_camera(folder: Path, width: int) -> CameraSettings:
    cv2.imwrite(str(folder / "0.png"), np.zeros((48, 64, 3), np.uint8))
    return CameraSettings("front", "folder", str(folder), width, 48, 50.0, loop=True)


def test_a_camera_without_a_topic_is_opened_and_measured(tmp_path: Path) -> None:
    findings = check_cameras([folder_camera(tmp_path, 64)], GraphView(), open_directly=True, seconds=0.5)
    by_name = {finding.name: finding for finding in findings}
    assert by_name["camera 'front': picture"].found == "64 x 48 rgb8"
    assert "of 50 Hz" in by_name["camera 'front': rate"].found
    assert by_name["camera 'front': stamps"].level == Level.OK


def test_an_opened_camera_of_another_size_fails(tmp_path: Path) -> None:
    (finding,) = check_cameras([folder_camera(tmp_path, 32)], GraphView(), open_directly=True, seconds=0.1)
    assert finding.level == Level.FAIL and "64 x 48" in finding.found
