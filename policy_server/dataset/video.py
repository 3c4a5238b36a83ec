"""Frames into MP4 and out of it, by PyAV."""

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.frame import PictureType
from numpy.typing import NDArray

from policy_server.runtime.errors import DatasetError

# Name on the command line → encoder, its default CRF, and options beside CRF and distance of key frames.
CODECS: dict[str, tuple[str, int, dict[str, str]]] = {
    "h264": ("libx264", 18, {"preset": "medium", "forced-idr": "1"}),
    "av1": ("libsvtav1", 24, {"preset": "8"}),
}
PIXEL_FORMAT = "yuv420p"
# Frames stand on a grid of periods; further from it than this is another frame, or a gap.
_TOLERANCE_PERIODS = 0.25
# SVT-AV1 prints its settings whenever it starts; errors only, unless the user asked for more.
os.environ.setdefault("SVT_LOG", "1")


class VideoError(DatasetError):
    """A video cannot be read, lacks frames, or cannot be written as asked."""


class VideoWriter:
    """Encodes pictures into one MP4 at a constant rate; the file is whole once it was closed.

    Args:
        codec: a key of ``CODECS``.
        crf: constant rate factor: smaller is better and larger; None takes the codec's default.
        key_every: distance of key frames. Small ones make random reading cheap.

    Raises:
        VideoError: unknown codec, or a size that it cannot encode.
    """

    def __init__(
        self, file: Path, rate_hz: int, height: int, width: int, codec: str, crf: int | None, key_every: int
    ) -> None:
        if height % 2 or width % 2:
            raise VideoError(
                f"'{file.name}' would be {width}x{height}: {PIXEL_FORMAT} needs even sizes; resize the camera"
            )
        self.frames = 0
        self.size_bytes = 0
        self._file, self._rate_hz, self._is_broken = file, rate_hz, False
        file.parent.mkdir(parents=True, exist_ok=True)
        encoder, default_crf, options = encoder_of(codec)
        self._container = av.open(str(file), "w", options={"movflags": "faststart"})
        values = {"crf": str(default_crf if crf is None else crf), "g": str(key_every), **options}
        self._stream = cast(av.VideoStream, self._container.add_stream(encoder, rate_hz, options=values))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, PIXEL_FORMAT

    def write(self, images: NDArray[np.uint8]) -> None:
        """Append uint8 (N, height, width, 3) RGB; the first of them becomes a key frame, where a reader can begin."""
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = self.frames
            frame.time_base = Fraction(1, self._rate_hz)
            if number == 0:
                frame.pict_type = PictureType.I
            self.frames += 1
            self._mux(frame)

    def close(self) -> None:
        """Write what the encoder still holds, and the file's table of contents."""
        if self.frames and not self._is_broken:
            self._mux(None)
        self._container.close()

    def _mux(self, frame: "av.VideoFrame | None") -> None:
        try:
            for packet in self._stream.encode(frame):
                self.size_bytes += packet.size
                self._container.mux(packet)
        except av.FFmpegError as error:
            self._is_broken = True
            width, height = self._stream.width, self._stream.height
            raise VideoError(
                f"{self._stream.codec.name} cannot encode '{self._file.name}' of {width}x{height} ({error}): choose another codec or CRF"
            ) from None


def encoder_of(codec: str) -> tuple[str, int, dict[str, str]]:
    """Encoder, default CRF and options of a codec. Raises VideoError when it is unknown or this PyAV cannot encode it."""
    if codec not in CODECS:
        raise VideoError(f"codec '{codec}' is unknown: choose {' or '.join(CODECS)}")
    encoder = CODECS[codec][0]
    try:
        av.codec.Codec(encoder, "w")
    except av.codec.codec.UnknownCodecError:
        raise VideoError(
            f"this PyAV has no encoder '{encoder}': choose another codec, or install av from PyPI"
        ) from None
    return CODECS[codec]


def read_frames(file: Path, start_s: float, count: int, rate_hz: float) -> Iterator[NDArray[np.uint8]]:
    """Decode ``count`` pictures from ``start_s`` on, uint8 (height, width, 3) RGB, one per period.

    Raises:
        VideoError: the file is missing or damaged, or a frame is not where it must be; names the file and the time.
    """
    if not file.is_file():
        raise VideoError(f"no video '{file}': the dataset is not whole; download or export it again")
    try:
        with av.open(str(file)) as container:
            yield from _on_grid(container, file, start_s, count, rate_hz)
    except av.FFmpegError as error:
        raise VideoError(f"video '{file}' cannot be decoded ({error}): download or export it again") from None


def _on_grid(
    container: "av.container.InputContainer", file: Path, start_s: float, count: int, rate_hz: float
) -> Iterator[NDArray[np.uint8]]:
    if not container.streams.video:
        raise VideoError(f"'{file}' holds no video: download or export it again")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    unit_s = stream.time_base or Fraction(1, av.time_base)
    tolerance_s = _TOLERANCE_PERIODS / rate_hz
    container.seek(max(0, round((start_s - tolerance_s) / unit_s)), stream=stream)  # to the key frame before
    found = 0
    for frame in container.decode(stream):
        if found == count:
            return
        wanted_s = start_s + found / rate_hz
        time_s = float((frame.pts or 0) * unit_s)
        if time_s < wanted_s - tolerance_s:
            continue
        if time_s > wanted_s + tolerance_s:
            break
        found += 1
        yield cast(NDArray[np.uint8], frame.to_ndarray(format="rgb24"))
    if found < count:
        raise VideoError(
            f"video '{file}' has no frame at {start_s + found / rate_hz:.3f} s: it is cut short or has another rate; "
            "download or export it again"
        )
