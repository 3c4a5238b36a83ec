"""The colour image of a RealSense camera, through pyrealsense2 where that is installed."""

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.clock import NS_PER_MS
from ros_nodes.camera.settings import CameraSettings
from ros_nodes.errors import CameraError

_FRAME_TIMEOUT_MS = 2000


class RealSenseSource:
    """One RealSense, chosen by serial number; frames carry the camera's own time when it is kept on the computer's clock."""

    def __init__(self, settings: CameraSettings) -> None:
        self._settings = settings
        self._library = _library(settings)
        configuration = self._library.config()
        if settings.source:
            configuration.enable_device(settings.source)
        configuration.enable_stream(
            self._library.stream.color,
            settings.width,
            settings.height,
            self._library.format.rgb8,
            round(settings.rate_hz),
        )
        self._pipeline = self._library.pipeline()
        try:
            self._pipeline.start(configuration)
        except RuntimeError as error:
            raise CameraError(
                f"{settings.label} does not start with {settings.width} x {settings.height} at {settings.rate_hz} Hz: {error}; check "
                "its cable, serial number and modes"
            ) from None

    def read(self) -> tuple[int | None, NDArray[np.uint8]] | None:
        try:
            frame = self._pipeline.wait_for_frames(_FRAME_TIMEOUT_MS).get_color_frame()
        except RuntimeError as error:
            raise CameraError(f"{self._settings.label} gives no frame any more: {error}; check its cable") from None
        return self._stamp_ns(frame), np.array(frame.get_data(), np.uint8)

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # an unplugged camera cannot be stopped
            self._pipeline.stop()

    def _stamp_ns(self, frame: Any) -> int | None:
        domains = self._library.timestamp_domain
        if frame.get_frame_timestamp_domain() in (domains.global_time, domains.system_time):
            # Milliseconds since 1970, as a float: in nanoseconds it would no longer be exact.
            whole_ms, rest_ms = divmod(frame.get_timestamp(), 1.0)
            return int(whole_ms) * NS_PER_MS + round(rest_ms * NS_PER_MS)
        return None


def _library(settings: CameraSettings) -> Any:
    try:
        import pyrealsense2
    except ImportError:
        raise CameraError(f"{settings.label} needs pyrealsense2: install it (pip install pyrealsense2)") from None
    return pyrealsense2
