"""camera_node: any number of cameras in one process, one thread each; frames stamped when they were captured."""

import time

from sensor_msgs.msg import Image

from policy_server.runtime.resources import resource
from ros_nodes import diagnostics, messages, qos, topics
from ros_nodes.camera.capture import CONNECTED, Capture, CaptureStatus
from ros_nodes.camera.settings import CameraSettings, load_cameras
from ros_nodes.diagnostics import Report, Value
from ros_nodes.lifecycle import ManagedNode, run_node
from ros_nodes.parameters import ParameterSpec

NAME = "camera_node"
PARAMETERS = (
    ParameterSpec("cameras_file", "", "which cameras there are; empty takes the package's config/cameras.yaml"),
)


class CameraNode(ManagedNode):
    """Publishes the frames of every configured camera."""

    def __init__(self) -> None:
        super().__init__(NAME, PARAMETERS)
        self._captures: list[Capture] = []

    def open(self) -> None:
        cameras = load_cameras(self.values["cameras_file"] or resource("config/cameras.yaml"))
        for settings in cameras:
            capture = self._make_capture(settings)
            self._captures.append(capture)
            capture.connect()

    def start(self) -> None:
        for capture in self._captures:
            capture.start()

    def stop(self) -> None:
        for capture in self._captures:
            capture.stop()

    def close(self) -> None:
        for capture in self._captures:
            capture.disconnect()
        self._captures = []

    def reports(self) -> list[Report]:
        now_ns = time.time_ns()
        return [_report(capture.settings.name, capture.status(now_ns)) for capture in self._captures]

    def _make_capture(self, settings: CameraSettings) -> Capture:
        publisher = self.advertise(Image, topics.camera_image(settings.name), qos.CAMERA_IMAGE)
        return Capture(
            settings,
            time.time_ns,
            on_frame=lambda frame: publisher.publish(messages.rgb_to_image(frame.image, frame.stamp_ns, settings.name)),
            on_news=self._say,
        )

    def _say(self, news: str) -> None:
        self.get_logger().warning(news)


def _report(name: str, status: CaptureStatus) -> Report:
    level = diagnostics.OK if status.state == CONNECTED else diagnostics.ERROR
    values: dict[str, Value] = {
        "state": status.state,
        "frames": status.frames,
        "dropped": status.dropped,
        "reconnects": status.reconnects,
        "rate_hz": status.rate_hz,
        "age_s": status.age_s,
    }
    return Report(f"camera {name}", level, status.message, values)


def main() -> int:
    return run_node(NAME, CameraNode)


if __name__ == "__main__":
    raise SystemExit(main())
