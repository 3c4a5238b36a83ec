"""Real files through the real sources."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

from ros_nodes.camera.settings import CameraSettings, Kind
from ros_nodes.camera.source import open_source
from ros_nodes.errors import CameraError

WIDTH, HEIGHT = 64, 48
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def picture(colour: tuple[int, int, int]) -> np.ndarray:
    """RGB."""
    return np.full((HEIGHT, WIDTH, 3), colour, np.uint8)


def camera(kind: Kind, source: Path | str, loop: bool = False) -> CameraSettings:
    return CameraSettings("front", kind, str(source), WIDTH, HEIGHT, 30.0, loop=loop)


def no_clock() -> int:
    return 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, colour in enumerate(COLOURS):
        cv2.imwrite(str(tmp_path / f"{index}.png"), cv2.cvtColor(picture(colour), cv2.COLOR_RGB2BGR))
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (WIDTH, HEIGHT))
    for colour in COLOURS:
        writer.write(cv2.cvtColor(picture(colour), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def test_a_folder_gives_its_images_in_order_as_rgb_and_then_ends(folder: Path) -> None:
    source = open_source(camera("folder", folder), no_clock)
    for colour in COLOURS:
        taken = source.read()
        assert taken is not None
        np.testing.assert_array_equal(taken[1], picture(colour))
    assert source.read() is None


def test_a_folder_can_begin_again(folder: Path) -> None:
    source = open_source(camera("folder", folder, loop=True), no_clock)
    means = [source.read()[1].mean(axis=(0, 1)).tolist() for _ in range(4)]  # type: ignore[index]
    assert means == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 0, 0]]


def test_a_video_gives_its_frames_as_rgb_and_then_ends(video: Path) -> None:
    source = open_source(camera("video", video), no_clock)
    for colour in COLOURS:
        taken = source.read()
        assert taken is not None
        assert np.abs(taken[1].astype(int) - picture(colour)).max() < 8  # JPEG
    assert source.read() is None
    source.close()


def test_a_video_can_begin_again(video: Path) -> None:
    source = open_source(camera("video", video, loop=True), no_clock)
    frames = [source.read() for _ in range(4)]
    assert frames[0] is not None and frames[3] is not None
    np.testing.assert_array_equal(frames[3][1], frames[0][1])
    source.close()


def test_a_damaged_image_is_named(folder: Path) -> None:
    (folder / "0.png").write_bytes(b"not a png")
    with pytest.raises(CameraError, match=r"0\.png is not an image"):
        open_source(camera("folder", folder), no_clock).read()


@pytest.mark.parametrize(
    ("kind", "source", "complaint"),
    [
        ("folder", "/nowhere", "camera 'front'.*no such folder"),
        ("video", "/nowhere.mp4", "camera 'front'.*no such file"),
        ("device", "/dev/video97", "camera 'front'.*no device '/dev/video97' .*plug it in"),
        ("device", "98", "no device '/dev/video98'"),
        ("rtsp", "rtsp://me:hidden@127.0.0.1:1/none", "camera 'front'.*does not open"),
    ],
)
def test_a_camera_that_is_not_there_is_named(kind: Kind, source: str, complaint: str) -> None:
    with pytest.raises(CameraError, match=complaint) as caught:
        open_source(camera(kind, source), no_clock)
    assert "hidden" not in str(caught.value)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="holds no image"):
        open_source(camera("folder", tmp_path), no_clock)


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(CameraError, match="does not open"):
        open_source(camera("video", path), no_clock)


def test_a_missing_realsense_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    with pytest.raises(CameraError, match="needs pyrealsense2"):
        open_source(camera("realsense", ""), no_clock)


class PretendRealSense(ModuleType):
    """As much of pyrealsense2 as the source uses; a frame with a given clock and time."""

    def __init__(self, domain: str, stamp_ms: float) -> None:
        super().__init__("pyrealsense2")
        frame = SimpleNamespace(
            get_frame_timestamp_domain=lambda: domain,
            get_timestamp=lambda: stamp_ms,
            get_data=lambda: picture(COLOURS[0]),
        )
        self.asked: dict[str, object] = {}
        self.timestamp_domain = SimpleNamespace(global_time="global", system_time="system", hardware_clock="hardware")
        self.stream = SimpleNamespace(color="colour")
        self.format = SimpleNamespace(rgb8="rgb8")
        self.config = lambda: SimpleNamespace(
            enable_device=lambda serial: self.asked.update(serial=serial),
            enable_stream=lambda *mode: self.asked.update(mode=mode),
        )
        self.pipeline = lambda: SimpleNamespace(
            start=lambda _: None,
            stop=lambda: None,
            wait_for_frames=lambda _: SimpleNamespace(get_color_frame=lambda: frame),
        )


@pytest.mark.parametrize(("domain", "stamp_ns"), [("global", 1_700_000_000_123_000_000), ("hardware", None)])
def test_a_realsense_stamp_is_taken_only_from_a_clock_that_the_computer_shares(
    monkeypatch: pytest.MonkeyPatch, domain: str, stamp_ns: int | None
) -> None:
    library = PretendRealSense(domain, 1_700_000_000_123.0)
    monkeypatch.setitem(sys.modules, "pyrealsense2", library)
    taken = open_source(camera("realsense", "0815"), no_clock).read()
    assert taken is not None
    assert taken[0] == stamp_ns
    np.testing.assert_array_equal(taken[1], picture(COLOURS[0]))
    assert library.asked == {"serial": "0815", "mode": ("colour", WIDTH, HEIGHT, "rgb8", 30)}
