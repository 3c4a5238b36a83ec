"""Camera pixels to encoder pixels: the one definition that training and robot share. Scaling to floats is inside the encoder graph."""

import cv2
import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.errors import ObservationError
from policy_server.runtime.manifest import CameraSpec


def check_image(image: NDArray[np.uint8], camera: CameraSpec) -> None:
    """Raises ObservationError when ``image`` is not uint8 RGB of the camera's source size."""
    expected = (camera.source_height, camera.source_width, 3)
    if image.shape != expected or image.dtype != np.uint8:
        raise ObservationError(
            f"camera '{camera.name}' gave {image.dtype} {image.shape}, the policy was trained on uint8 {expected}: "
            "set the camera's resolution and encoding to match"
        )


def preprocess(image: NDArray[np.uint8], camera: CameraSpec) -> NDArray[np.uint8]:
    """Crop, then area resize.

    Args:
        image: uint8 (source_height, source_width, 3) RGB.

    Returns:
        uint8 (height, width, 3) RGB, contiguous.

    Raises:
        ObservationError: another size or dtype than the camera's.
    """
    check_image(image, camera)
    top, left, height, width = camera.crop
    cropped = image[top : top + height, left : left + width]
    if (height, width) != (camera.height, camera.width):
        return np.asarray(cv2.resize(cropped, (camera.width, camera.height), interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(cropped)
