"""What a run of the simulated graph leaves behind: results, latencies, joint traces, the last context, a video."""

import csv
import dataclasses
import json
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from sim_bridge.episode import EpisodeResult

EPISODES_FILE = "episodes.jsonl"
TIMING_FILE = "timing.csv"
VIDEO_FILE = "episodes.mp4"
_TEXT_BGR = (40, 40, 40)


def append_result(folder: Path, result: EpisodeResult) -> None:
    """Add an episode's result as one line of JSON, at once, so that a run that is stopped keeps what it has."""
    with (folder / EPISODES_FILE).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(dataclasses.asdict(result)) + "\n")


def read_results(folder: Path) -> list[EpisodeResult]:
    """The results of a run so far, in the order of its episodes."""
    file = folder / EPISODES_FILE
    if not file.exists():
        return []
    return [EpisodeResult(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


class EpisodeTrace:
    """Joint targets and measurements of one episode, tick by tick, and the newest context."""

    def __init__(self) -> None:
        self._times_s: list[float] = []
        self._targets: list[NDArray[np.float64]] = []
        self._measured: list[NDArray[np.float64]] = []
        self._context: NDArray[np.float32] = np.zeros((0, 0), np.float32)

    def add(self, time_s: float, target: NDArray[np.float64], measured: NDArray[np.float64]) -> None:
        """``target`` and ``measured``: float64 (8,), rad and m."""
        self._times_s.append(time_s)
        self._targets.append(target)
        self._measured.append(measured)

    def set_context(self, rows: NDArray[np.float32]) -> None:
        self._context = rows

    def save(self, folder: Path, seed: int) -> None:
        """Write ``trace_<seed>.npz`` with times_s (N,), targets (N, 8), measured (N, 8), context (T, D)."""
        np.savez(
            folder / f"trace_{seed}.npz",
            times_s=np.array(self._times_s),
            targets=np.array(self._targets),
            measured=np.array(self._measured),
            context=self._context,
        )


class VideoWriter:
    """An H.264 video with a caption per frame."""

    def __init__(self, file: Path, height: int, width: int, rate_hz: float) -> None:
        self._container = av.open(str(file), "w")
        self._stream = self._container.add_stream(
            "libx264", rate=round(rate_hz), options={"preset": "ultrafast", "crf": "26"}
        )
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, "yuv420p"
        self._stream.codec_context.thread_count = 1

    def add(self, image: NDArray[np.uint8], caption: str) -> None:
        """``image``: uint8 (height, width, 3) RGB; it is written upon."""
        cv2.putText(image, caption, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _TEXT_BGR, 1, cv2.LINE_AA)
        self._mux(av.VideoFrame.from_ndarray(image, format="rgb24"))

    def close(self) -> None:
        self._mux(None)
        self._container.close()

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)


class TimingFile:
    """``timing.csv``: one line per node and tick, as ``policy/timing`` tells it, and per captured frame."""

    def __init__(self, folder: Path) -> None:
        self._stream = (folder / TIMING_FILE).open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._stream)
        self._writer.writerow(("stage", "stamp_ns", "received_ns", "published_ns", "network_ns"))

    def add(self, stage: str, stamp_ns: int, received_ns: int, published_ns: int, network_ns: int) -> None:
        self._writer.writerow((stage, stamp_ns, received_ns, published_ns, network_ns))

    def close(self) -> None:
        self._stream.close()
