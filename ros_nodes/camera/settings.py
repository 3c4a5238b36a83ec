"""Which cameras there are, read from ``config/cameras.yaml``."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from policy_server.runtime.configuration import build, read_yaml
from policy_server.runtime.errors import ConfigurationError

Kind = Literal["device", "video", "folder", "rtsp", "realsense"]
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class CameraSettings:
    """One camera.

    Attributes:
        name: its topic is ``camera/<name>/image_raw``; the policy's bundle asks for cameras by this name.
        kind: ``device`` (V4L2), ``video`` (file), ``folder`` (of images, in order of name), ``rtsp`` or ``realsense``.
        source: device path, file, folder, URL, or serial number (empty: the only RealSense there is).
        width, height: pixels; frames of another size are refused.
        rate_hz: what the camera is asked for; files are played at this rate.
        fourcc: pixel format asked of a V4L2 device, e.g. MJPG; empty leaves the driver's choice.
        loop: whether a file or folder begins again at its end.
        latency_s: how long before its stamp a frame really was captured; stamps are set back by it. Files have none.
    """

    name: str
    kind: Kind
    source: str
    width: int
    height: int
    rate_hz: float
    fourcc: str = ""
    loop: bool = False
    latency_s: float = 0.0

    @property
    def label(self) -> str:
        """What to call the camera in messages; passwords in URLs are left out."""
        return f"camera '{self.name}' ({self.kind} {re.sub(r'//[^/@]*@', '//', self.source) or 'any'})"


@dataclass(frozen=True)
class CamerasFile:
    """The YAML file."""

    cameras: tuple[CameraSettings, ...]


def load_cameras(path: Path | str) -> tuple[CameraSettings, ...]:
    """The cameras in a YAML file.

    Raises:
        ConfigurationError: no such file, an unknown key or kind, no camera at all, or a name that is not fit for a topic or is used
            twice.
    """
    cameras = build(CamerasFile, read_yaml(path), str(path)).cameras
    if not cameras:
        raise ConfigurationError(f"{path}: 'cameras' is empty: name at least one camera, or leave camera_node out")
    names = [camera.name for camera in cameras]
    for camera in cameras:
        if not _NAME.fullmatch(camera.name) or names.count(camera.name) > 1:
            raise ConfigurationError(
                f"{path}: camera name '{camera.name}' must be unique, of lower-case letters, digits and _"
            )
        if not 0.0 <= camera.latency_s <= 1.0:
            raise ConfigurationError(f"{path}: camera '{camera.name}' has latency_s {camera.latency_s}: give 0 to 1")
        if camera.width < 1 or camera.height < 1 or not 0.0 < camera.rate_hz <= 1000.0:
            raise ConfigurationError(
                f"{path}: camera '{camera.name}' is {camera.width} x {camera.height} at {camera.rate_hz} Hz: all must be positive"
            )
    return cameras
