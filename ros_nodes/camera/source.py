"""Where frames come from: one small interface, one class per kind of source."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ros_nodes.camera.folder_source import FolderSource
from ros_nodes.camera.opencv_source import DeviceSource, StreamSource, VideoFileSource
from ros_nodes.camera.realsense import RealSenseSource
from ros_nodes.camera.settings import CameraSettings
from ros_nodes.errors import CameraError

ClockNs = Callable[[], int]


class FrameSource(Protocol):
    """A camera that is open."""

    def read(self) -> "tuple[int | None, NDArray[np.uint8]] | None":
        """The next frame: capture time in ns where the source knows it, and uint8 (height, width, 3) RGB; None at the end.

        Blocks until there is one. Raises CameraError when the camera has gone.
        """

    def close(self) -> None:
        """Let go of the camera."""


@dataclass(frozen=True)
class Frame:
    """One picture: capture stamp and uint8 (height, width, 3) RGB."""

    stamp_ns: int
    image: NDArray[np.uint8]


def open_source(settings: CameraSettings, clock_ns: ClockNs) -> FrameSource:
    """Open the camera that the settings describe. Raises CameraError when it is not there or does not open."""
    match settings.kind:
        case "device":
            return DeviceSource(settings, clock_ns)
        case "rtsp":
            return StreamSource(settings)
        case "video":
            return VideoFileSource(settings)
        case "folder":
            return FolderSource(settings)
        case "realsense":
            return RealSenseSource(settings)


def check_size(settings: CameraSettings, image: NDArray[np.uint8]) -> None:
    """Raises CameraError when a frame is not of the configured size."""
    height, width = image.shape[:2]
    if (width, height) != (settings.width, settings.height):
        raise CameraError(
            f"{settings.label} gives {width} x {height} pixels, configured are {settings.width} x {settings.height}: set width and "
            "height to what the camera offers"
        )
