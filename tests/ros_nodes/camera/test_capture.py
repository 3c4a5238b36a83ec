"""The capture thread: delivers, counts what is lost, and gets an unplugged camera back."""

import dataclasses
import queue
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from policy_server.runtime.clock import NS_PER_S
from ros_nodes.camera.capture import CONNECTED, ENDED, Capture
from ros_nodes.camera.settings import CameraSettings
from ros_nodes.camera.source import Frame
from ros_nodes.errors import CameraError

PATIENCE_S = 10.0
PERIOD_NS = NS_PER_S // 10
SETTINGS = CameraSettings("front", "device", "/dev/video0", 4, 3, 10.0)
UNPLUGGED = CameraError("camera 'front' gives no frame any more")


def frame(stamp_ns: int, width: int = 4) -> tuple[int, np.ndarray]:
    return stamp_ns, np.zeros((3, width, 3), np.uint8)


class ScriptedSource:
    """Gives what the script says; an exception in it is raised. Blocks never; ends with None."""

    def __init__(self, script: list[object]) -> None:
        self._script = iter(script)

    def read(self) -> tuple[int, np.ndarray] | None:
        item = next(self._script, None)
        if isinstance(item, Exception):
            raise item
        return item  # type: ignore[return-value]

    def close(self) -> None:
        pass


class Recorder:
    """A capture over one script per connection; keeps what it delivers."""

    def __init__(self, *connections: list[object] | CameraError, settings: CameraSettings = SETTINGS) -> None:
        self.frames: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self.news: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._connections: Iterator[list[object] | CameraError] = iter(connections)
        self.capture = Capture(settings, lambda: 0, self.frames.put, self.news.put, self._open)

    def _open(self, _settings: CameraSettings, _clock_ns: Callable[[], int]) -> ScriptedSource:
        script = next(self._connections)
        if isinstance(script, CameraError):
            raise script
        return ScriptedSource(script)

    def run(self) -> "Recorder":
        self.capture.connect()
        self.capture.start()
        return self

    def taken_stamps_ns(self, count: int) -> list[int]:
        return [self.frames.get(timeout=PATIENCE_S).stamp_ns for _ in range(count)]


def test_every_frame_is_delivered_with_its_capture_stamp() -> None:
    recorder = Recorder([frame(1), frame(2), frame(3)]).run()
    assert recorder.taken_stamps_ns(3) == [1, 2, 3]
    recorder.capture.stop()


def test_the_end_of_a_file_is_news_and_no_error() -> None:
    recorder = Recorder([frame(1)]).run()
    assert "end" in recorder.news.get(timeout=PATIENCE_S)
    assert recorder.capture.status(0).state == ENDED
    recorder.capture.stop()


def test_missing_frames_are_counted_from_the_stamps() -> None:
    stamps_ns = [0, 1, 2, 5, 6, 8]
    recorder = Recorder([frame(stamp * PERIOD_NS) for stamp in stamps_ns]).run()
    recorder.taken_stamps_ns(len(stamps_ns))
    recorder.capture.stop()
    status = recorder.capture.status(8 * PERIOD_NS)
    assert (status.frames, status.dropped) == (6, 3)


def test_an_unplugged_camera_comes_back() -> None:
    recorder = Recorder([frame(1), UNPLUGGED], UNPLUGGED, [frame(2)]).run()
    assert recorder.taken_stamps_ns(2) == [1, 2]
    assert "no frame any more" in recorder.news.get(timeout=PATIENCE_S)
    assert "is back" in recorder.news.get(timeout=PATIENCE_S)
    recorder.capture.stop()
    assert recorder.capture.status(0).reconnects == 1


def test_stopping_ends_the_attempts_to_reconnect() -> None:
    recorder = Recorder([frame(1), UNPLUGGED], *[UNPLUGGED] * 1000).run()
    recorder.news.get(timeout=PATIENCE_S)
    recorder.capture.stop()
    assert recorder.capture.status(0).state != CONNECTED


def test_a_frame_of_another_size_is_refused_at_once() -> None:
    recorder = Recorder([frame(1, width=5)])
    with pytest.raises(CameraError, match=r"camera 'front'.*gives 5 x 3 pixels, configured are 4 x 3"):
        recorder.capture.connect()


def test_a_size_that_changes_on_the_way_is_news() -> None:
    recorder = Recorder([frame(1), frame(2, width=5)], [frame(3)]).run()
    assert recorder.taken_stamps_ns(2) == [1, 3]
    assert "gives 5 x 3 pixels" in recorder.news.get(timeout=PATIENCE_S)
    recorder.capture.stop()


def test_files_are_played_at_their_rate_and_stamped_when_shown() -> None:
    now_ns = [0]
    frames: list[Frame] = []

    def take(frame: Frame) -> None:
        frames.append(frame)
        now_ns[0] += PERIOD_NS

    settings = CameraSettings("front", "folder", "/x", 4, 3, 10.0)
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()
    images = [(None, np.zeros((3, 4, 3), np.uint8))] * 3
    capture = Capture(settings, lambda: now_ns[0], take, ended.put, lambda *_: ScriptedSource(list(images)))
    capture.connect()
    capture.start()
    ended.get(timeout=PATIENCE_S)
    capture.stop()
    assert [frame.stamp_ns for frame in frames] == [0, PERIOD_NS, 2 * PERIOD_NS]


def test_a_known_latency_sets_the_stamps_back() -> None:
    late = Recorder(
        [frame(5 * PERIOD_NS), frame(6 * PERIOD_NS)], settings=dataclasses.replace(SETTINGS, latency_s=0.04)
    ).run()
    stamps = [late.frames.get(timeout=PATIENCE_S).stamp_ns for _ in range(2)]
    late.capture.stop()
    assert stamps == [5 * PERIOD_NS - 40_000_000, 6 * PERIOD_NS - 40_000_000]
