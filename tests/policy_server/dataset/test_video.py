from pathlib import Path

import numpy as np
import pytest

from policy_server.dataset.video import CODECS, VideoError, VideoWriter, read_frames
from policy_server.runtime.recording import CameraShape
from tests.policy_server.dataset.recorded import picture

CAMERA = CameraShape("front", 64, 80)
LEVELS = 2.0  # mean difference that the codecs' defaults leave in a smooth picture, of 255


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.stack([picture(CAMERA, seed, tick) for tick in range(count)])


def write(file: Path, parts: list[np.ndarray], codec: str = "h264", key_every: int = 2) -> Path:
    writer = VideoWriter(file, 10, CAMERA.height, CAMERA.width, codec, None, key_every)
    for part in parts:
        writer.write(part)
    writer.close()
    return file


@pytest.mark.parametrize("key_every", [2, 50])
@pytest.mark.parametrize("codec", list(CODECS))
def test_every_frame_comes_back_at_its_place(tmp_path: Path, codec: str, key_every: int) -> None:
    first, second = pictures(9), pictures(14, seed=1)
    file = write(tmp_path / "a.mp4", [first, second], codec, key_every)
    for start, images in ((0.0, first), (0.9, second), (1.2, second[3:])):
        frames = np.stack(list(read_frames(file, start, len(images), 10.0)))
        difference = np.abs(frames.astype(int)[:, None] - images).mean(axis=(2, 3, 4))
        np.testing.assert_array_equal(difference.argmin(axis=1), np.arange(len(images)))
        assert difference.diagonal().max() < LEVELS


def test_a_better_quality_is_larger_and_nearer(tmp_path: Path) -> None:
    images, sizes, errors = pictures(10), [], []
    for crf in (5, 40):
        writer = VideoWriter(tmp_path / "a.mp4", 10, CAMERA.height, CAMERA.width, "h264", crf, 2)
        writer.write(images)
        writer.close()
        sizes.append((tmp_path / "a.mp4").stat().st_size)
        decoded = np.stack(list(read_frames(tmp_path / "a.mp4", 0.0, 10, 10.0)))
        errors.append(np.abs(decoded.astype(int) - images).mean())
    assert sizes[0] > sizes[1] and errors[0] < errors[1]


def test_a_video_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"no video '.*a\.mp4'"):
        list(read_frames(tmp_path / "a.mp4", 0.0, 1, 10.0))


def test_a_video_that_was_cut_off_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", [pictures(30)])
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"a\.mp4"):
        list(read_frames(file, 0.0, 30, 10.0))


def test_a_frame_that_is_missing_is_named_with_its_time(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", [pictures(10)])
    with pytest.raises(VideoError, match=r"no frame at 1\.000 s"):
        list(read_frames(file, 0.5, 8, 10.0))


def test_another_rate_is_noticed(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", [pictures(30)])
    with pytest.raises(VideoError, match="has another rate"):
        list(read_frames(file, 0.0, 30, 15.0))


@pytest.mark.parametrize(
    ("width", "codec", "crf", "said"),
    [
        (81, "h264", None, "needs even sizes"),
        (80, "mpeg7", None, "unknown: choose h264 or av1"),
        (80, "av1", 1000, "libsvtav1 cannot encode 'a.mp4' of 80x64"),
    ],
)
def test_what_cannot_be_encoded_is_refused(tmp_path: Path, width: int, codec: str, crf: int | None, said: str) -> None:
    with pytest.raises(VideoError, match=said):
        VideoWriter(tmp_path / "a.mp4", 10, 64, width, codec, crf, 2).write(np.zeros((2, 64, width, 3), np.uint8))
