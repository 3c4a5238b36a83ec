"""Cameras through OpenCV: V4L2 devices, network streams and video files."""

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.clock import NS_PER_MS, NS_PER_S
from ros_nodes.camera.settings import CameraSettings
from ros_nodes.errors import CameraError

_STREAM_TIMEOUT_MS = 5000


class DeviceSource:
    """A V4L2 device; frames carry the time at which the driver took them."""

    def __init__(self, settings: CameraSettings, clock_ns: Callable[[], int]) -> None:
        self._settings = settings
        self._clock_ns = clock_ns
        device = f"/dev/video{settings.source}" if settings.source.isdecimal() else settings.source
        if not Path(device).exists():
            others = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
            raise CameraError(
                f"{settings.label}: no device '{device}' (here: {others}); plug it in or correct 'source'"
            )
        self._capture = _opened(settings, device, cv2.CAP_V4L2)
        if settings.fourcc:
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*settings.fourcc))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
        self._capture.set(cv2.CAP_PROP_FPS, settings.rate_hz)
        # Old frames in a queue are worse than lost ones.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def read(self) -> tuple[int | None, NDArray[np.uint8]] | None:
        if not self._capture.grab():
            raise CameraError(f"{self._settings.label} gives no frame any more: check its cable")
        return self._capture_stamp_ns(), _retrieved(self._settings, self._capture)

    def close(self) -> None:
        self._capture.release()

    def _capture_stamp_ns(self) -> int:
        """The driver stamps frames on the monotonic clock; its age there dates the frame on ours."""
        driver_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * NS_PER_MS)
        age_ns = time.monotonic_ns() - driver_ns
        plausible = 0 <= age_ns < NS_PER_S
        return self._clock_ns() - (age_ns if plausible else 0)


class StreamSource:
    """A network stream (RTSP) through FFmpeg."""

    def __init__(self, settings: CameraSettings) -> None:
        self._settings = settings
        timeouts = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            _STREAM_TIMEOUT_MS,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            _STREAM_TIMEOUT_MS,
        ]
        self._capture = _opened(settings, settings.source, cv2.CAP_FFMPEG, timeouts)

    def read(self) -> tuple[int | None, NDArray[np.uint8]] | None:
        if not self._capture.grab():
            raise CameraError(f"{self._settings.label} gives no frame any more: check the network and the camera")
        return None, _retrieved(self._settings, self._capture)

    def close(self) -> None:
        self._capture.release()


class VideoFileSource:
    """A video file, from its first frame."""

    def __init__(self, settings: CameraSettings) -> None:
        self._settings = settings
        if not Path(settings.source).is_file():
            raise CameraError(f"{settings.label}: no such file; give a video")
        self._capture = _opened(settings, settings.source, cv2.CAP_FFMPEG)

    def read(self) -> tuple[int | None, NDArray[np.uint8]] | None:
        if not self._capture.grab():
            if not self._settings.loop:
                return None
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            if not self._capture.grab():
                raise CameraError(
                    f"{self._settings.label} cannot be played again from its start: convert it, or set loop to false"
                )
        return None, _retrieved(self._settings, self._capture)

    def close(self) -> None:
        self._capture.release()


def _opened(settings: CameraSettings, source: str, backend: int, options: list[int] | None = None) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(source, backend, options or [])
    if not capture.isOpened():
        raise CameraError(
            f"{settings.label} does not open: is it in use by another program, or not a camera, stream or video?"
        )
    return capture


def _retrieved(settings: CameraSettings, capture: cv2.VideoCapture) -> NDArray[np.uint8]:
    """The grabbed frame as uint8 (height, width, 3) RGB."""
    taken, image = capture.retrieve()
    if not taken or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise CameraError(
            f"{settings.label} gives frames that do not decode to 8-bit colour: choose another pixel format (fourcc)"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
