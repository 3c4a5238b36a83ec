"""Cameras: do they give pictures of the right size, as often as configured, stamped when they were taken?

A camera whose topic somebody publishes is looked at there; another one is opened directly, as ``camera_node`` would.
"""

import time
from collections.abc import Callable, Sequence

from ros_nodes.camera.capture import Capture
from ros_nodes.camera.settings import CameraSettings
from ros_nodes.camera.source import ClockNs, Frame, FrameSource, open_source
from ros_nodes.doctor.finding import Finding, fail, fail_with, ok, skip
from ros_nodes.doctor.graph_view import GraphView, ImageArrival
from ros_nodes.doctor.stamps import Stream, check_rate, check_stamps
from ros_nodes.errors import CameraError

_OLDEST_MS = 100.0
_ENCODINGS = ("rgb8", "bgr8", "mono8")

Opener = Callable[[CameraSettings, ClockNs], FrameSource]


def check_cameras(
    cameras: Sequence[CameraSettings],
    view: GraphView,
    open_directly: bool,
    seconds: float,
    opener: Opener = open_source,
) -> list[Finding]:
    """Findings of every camera of ``config/cameras.yaml``; ``open_directly``: whether those without a topic may be opened."""
    findings: list[Finding] = []
    for camera in cameras:
        name = f"camera '{camera.name}'"
        arrivals = view.images.get(camera.name, ())
        if arrivals:
            findings += judge_arrivals(camera, arrivals)
        elif open_directly:
            findings += _look_through(camera, seconds, opener)
        else:
            mend = f"start its driver; its topic is camera/{camera.name}/image_raw, or remap it there"
            findings.append(fail(name, f"nothing on camera/{camera.name}/image_raw in {seconds:.0f} s", mend))
    return findings or [skip("cameras", "none are configured")]


def judge_arrivals(camera: CameraSettings, arrivals: Sequence[ImageArrival]) -> list[Finding]:
    """Size, rate and stamps of the pictures of one camera, in order of arrival."""
    name = f"camera '{camera.name}'"
    if len(arrivals) < 2:
        return [fail(name, f"{len(arrivals)} picture", "its driver stalls: look at its log")]
    stream = Stream(tuple(a.stamp_ns for a in arrivals), tuple(a.received_ns for a in arrivals))
    return [
        _form(camera, arrivals[-1]),
        check_rate(name, stream, camera.rate_hz),
        check_stamps(name, stream, _OLDEST_MS),
    ]


def _form(camera: CameraSettings, picture: ImageArrival) -> Finding:
    what = f"camera '{camera.name}': picture"
    found = f"{picture.width} x {picture.height} {picture.encoding}"
    if (picture.width, picture.height) != (camera.width, camera.height):
        mend = f"configured are {camera.width} x {camera.height}: set the driver or cameras.yaml to what the policy was trained on"
        return fail(what, found, mend)
    if picture.encoding not in _ENCODINGS:
        return fail(what, found, f"set its driver to one of {', '.join(_ENCODINGS)}")
    return ok(what, found)


def _look_through(camera: CameraSettings, seconds: float, opener: Opener) -> list[Finding]:
    """Open the camera for a moment, with the code that camera_node runs."""
    arrivals: list[ImageArrival] = []

    def on_frame(frame: Frame) -> None:
        height, width = frame.image.shape[:2]
        arrivals.append(ImageArrival(frame.stamp_ns, time.time_ns(), width, height))

    news: list[str] = []
    capture = Capture(camera, time.time_ns, on_frame, news.append, opener)
    try:
        capture.connect()
        capture.start()
        time.sleep(seconds)
        capture.stop()
    except CameraError as error:
        return [_gone(camera, error)]
    finally:
        capture.disconnect()
    return [_gone(camera, CameraError(news[-1]))] if news else judge_arrivals(camera, arrivals)


def _gone(camera: CameraSettings, error: CameraError) -> Finding:
    finding = fail_with(f"camera '{camera.name}'", error)
    return fail(finding.name, finding.found.removeprefix(camera.label).lstrip(": "), finding.mend)
