"""The cameras file: what it may say, and what is wrong when it says something else."""

from pathlib import Path

import pytest

from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.resources import resource
from ros_nodes.camera.settings import CameraSettings, load_cameras

GOOD = "cameras:\n  - {name: front, kind: folder, source: /x, width: 4, height: 3, rate_hz: 10.0}\n"


def test_the_shipped_file_is_valid() -> None:
    assert load_cameras(resource("config/cameras.yaml"))


def test_any_number_of_cameras_can_be_named(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(GOOD + "  - {name: wrist, kind: device, source: '0', width: 4, height: 3, rate_hz: 10.0}\n")
    assert [camera.name for camera in load_cameras(file)] == ["front", "wrist"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("cameras: []\n", "'cameras' is empty"),
        (GOOD.replace("rate_hz", "rate"), "unknown key.*'cameras\\[\\].rate'; did you mean 'rate_hz'"),
        (GOOD.replace("folder", "webcam"), "kind"),
        (GOOD.replace("front", "Front Camera"), "camera name 'Front Camera'"),
        (GOOD + GOOD.splitlines()[1] + "\n", "camera name 'front' must be unique"),
        (GOOD.replace("width: 4", "width: 0"), "must be positive"),
        (GOOD.replace("10.0", ".nan"), "must be positive"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=complaint):
        load_cameras(file)


def test_passwords_do_not_appear_in_messages() -> None:
    camera = CameraSettings("gate", "rtsp", "rtsp://admin:secret@10.0.0.5/stream", 4, 3, 10.0)
    assert "secret" not in camera.label and "10.0.0.5" in camera.label
