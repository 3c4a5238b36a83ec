"""Reads one camera in a thread of its own, and gets it back when it has gone."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from policy_server.runtime.clock import NS_PER_S, ns_to_seconds, seconds_to_ns
from ros_nodes.camera.settings import CameraSettings
from ros_nodes.camera.source import ClockNs, Frame, FrameSource, check_size, open_source
from ros_nodes.errors import CameraError
from ros_nodes.statistics import RateMeter

CONNECTED = "connected"
RECONNECTING = "reconnecting"
ENDED = "ended"

_FIRST_RETRY_S = 0.2
_LONGEST_RETRY_S = 5.0
_PLAYED = ("video", "folder")


@dataclass(frozen=True)
class CaptureStatus:
    """How a camera does: its state, what is the matter, and counts since the start."""

    state: str
    message: str
    frames: int
    dropped: int
    reconnects: int
    rate_hz: float
    age_s: float | None


class Capture:
    """One camera and its thread.

    Connecting means opening the source and looking at a first frame, so that a wrong size shows before anything runs. Frames go
    to ``on_frame``, news ("gone", "back", "ended") to ``on_news``; both are called in the thread.
    """

    def __init__(
        self,
        settings: CameraSettings,
        clock_ns: ClockNs,
        on_frame: Callable[[Frame], None],
        on_news: Callable[[str], None],
        opener: Callable[[CameraSettings, ClockNs], FrameSource] = open_source,
    ) -> None:
        self.settings = settings
        self._clock_ns = clock_ns
        self._on_frame = on_frame
        self._on_news = on_news
        self._opener = opener
        self._source: FrameSource | None = None
        self._first: Frame | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._state, self._message = RECONNECTING, "not connected yet"
        self._meter = RateMeter()
        self._dropped = 0
        self._reconnects = 0
        self._newest_ns: int | None = None
        self._due_ns = 0

    def connect(self) -> None:
        """Open the camera and read a first frame. Raises CameraError when it is absent, does not open, or is of another size."""
        self.disconnect()
        self._source = self._opener(self.settings, self._clock_ns)
        try:
            self._first = self._read()
        except CameraError:
            self.disconnect()
            raise
        self._state, self._message = CONNECTED, ""

    def start(self) -> None:
        """Begin to deliver frames."""
        self._ended.clear()
        self._due_ns = self._clock_ns()
        self._thread = threading.Thread(target=self._run, name=f"camera {self.settings.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the frame in progress."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def disconnect(self) -> None:
        """Let go of the camera."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def status(self, now_ns: int) -> CaptureStatus:
        """How the camera does at ``now_ns``."""
        meter = self._meter
        age_s = None if self._newest_ns is None else ns_to_seconds(now_ns - self._newest_ns)
        return CaptureStatus(
            self._state, self._message, meter.count, self._dropped, self._reconnects, meter.rate_hz(now_ns), age_s
        )

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._deliver_until_stopped()
                return
            except CameraError as error:
                self._state, self._message = RECONNECTING, str(error)
                self._on_news(str(error))
            if not self._reconnect():
                return
            self._reconnects += 1
            self._on_news(f"{self.settings.label} is back")

    def _deliver_until_stopped(self) -> None:
        frame, self._first = self._first, None
        while not self._ended.is_set():
            if frame is None:
                frame = self._read()
            if frame is None:
                self._state, self._message = ENDED, f"{self.settings.label} has come to its end"
                self._on_news(self._message)
                return
            frame = self._paced(frame)
            if not self._ended.is_set():
                self._count(frame)
                self._on_frame(frame)
            frame = None

    def _read(self) -> Frame | None:
        assert self._source is not None
        taken = self._source.read()
        if taken is None:
            return None
        stamp_ns, image = taken
        check_size(self.settings, image)
        stamp_ns = self._clock_ns() if stamp_ns is None else stamp_ns
        return Frame(stamp_ns - seconds_to_ns(self.settings.latency_s), image)

    def _paced(self, frame: Frame) -> Frame:
        """A file's frame is due one period after the one before, and is stamped when it is shown."""
        if self.settings.kind not in _PLAYED:
            return frame
        self._ended.wait(max(0.0, ns_to_seconds(self._due_ns - self._clock_ns())))
        now_ns = self._clock_ns()
        period_ns = round(NS_PER_S / self.settings.rate_hz)
        late = now_ns - self._due_ns > period_ns
        self._due_ns = (now_ns if late else self._due_ns) + period_ns
        return Frame(now_ns, frame.image)

    def _count(self, frame: Frame) -> None:
        period_ns = NS_PER_S / self.settings.rate_hz
        if self._newest_ns is not None:
            self._dropped += max(0, round((frame.stamp_ns - self._newest_ns) / period_ns) - 1)
        self._newest_ns = frame.stamp_ns
        self._meter.tick(frame.stamp_ns)

    def _reconnect(self) -> bool:
        """Try again, less and less often, until the camera is back; False when stopped before."""
        pause_s = _FIRST_RETRY_S
        while not self._ended.wait(pause_s):
            try:
                self.connect()
                return True
            except CameraError as error:
                self._message = str(error)
                pause_s = min(2 * pause_s, _LONGEST_RETRY_S)
        return False
