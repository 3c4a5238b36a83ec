"""A folder of images as a camera, for tests and demonstrations."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ros_nodes.camera.settings import CameraSettings
from ros_nodes.errors import CameraError

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")


class FolderSource:
    """Images in order of name."""

    def __init__(self, settings: CameraSettings) -> None:
        self._settings = settings
        folder = Path(settings.source)
        if not folder.is_dir():
            raise CameraError(f"{settings.label}: no such folder; give one that holds images")
        self._files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)
        if not self._files:
            raise CameraError(f"{settings.label}: the folder holds no image ({', '.join(_SUFFIXES)})")
        self._next = 0

    def read(self) -> tuple[int | None, NDArray[np.uint8]] | None:
        if self._next == len(self._files):
            if not self._settings.loop:
                return None
            self._next = 0
        file = self._files[self._next]
        self._next += 1
        image = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if image is None:
            raise CameraError(
                f"{self._settings.label}: {file.name} is not an image that can be read; remove or replace it"
            )
        return None, cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)

    def close(self) -> None:
        self._next = len(self._files)
