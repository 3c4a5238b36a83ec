"""Does the bundle go with this robot: its cameras, joints, rate, and the guard's watchdog?"""

from collections.abc import Sequence

from policy_server.runtime.bundle import Bundle
from policy_server.runtime.errors import BundleError
from policy_server.runtime.manifest import CameraSpec
from ros_nodes.bundle_checks import check_topics_carry
from ros_nodes.camera.settings import CameraSettings
from ros_nodes.doctor.finding import Finding, fail, fail_with, ok, warn
from ros_nodes.franka.settings import GuardSettings


def check_bundle(bundle: Bundle, cameras: Sequence[CameraSettings], guard: GuardSettings) -> list[Finding]:
    """``cameras``: those of the robot, as configured; ``guard``: limits and watchdog of its arm."""
    return [
        _itself(bundle),
        *(_camera(wanted, cameras, bundle.spec.rate_hz) for wanted in bundle.spec.cameras),
        _joints(bundle, guard),
        _pace(bundle, guard),
    ]


def _itself(bundle: Bundle) -> Finding:
    name = "bundle"
    try:
        check_topics_carry(bundle)
    except BundleError as error:
        return fail_with(name, error)
    return ok(name, f"{bundle.spec.name} for {bundle.spec.task}, {bundle.hash[:12]}, files unaltered")


def _camera(wanted: CameraSpec, cameras: Sequence[CameraSettings], rate_hz: float) -> Finding:
    name = f"bundle's camera '{wanted.name}'"
    size = f"{wanted.source_width} x {wanted.source_height}"
    there = next((camera for camera in cameras if camera.name == wanted.name), None)
    if there is None:
        mend = f"configured are {', '.join(c.name for c in cameras)}: name one '{wanted.name}', the one it was trained with"
        return fail(name, "there is none", mend)
    if (there.width, there.height) != (wanted.source_width, wanted.source_height):
        mend = f"the policy was trained on {size}: set the camera to that, or train on this one"
        return fail(name, f"{there.width} x {there.height}", mend)
    if there.rate_hz < rate_hz:
        return fail(name, f"{there.rate_hz:g} Hz", f"the policy ticks at {rate_hz:g} Hz: raise rate_hz")
    return ok(name, f"{size} at {there.rate_hz:g} Hz")


def _joints(bundle: Bundle, guard: GuardSettings) -> Finding:
    name = "bundle's joints"
    joints = bundle.spec.action.joints
    if joints != guard.limits.joints:
        mend = f"the guard's robot '{guard.robot}' has {', '.join(guard.limits.joints)}: choose robot=, or the right bundle"
        return fail(name, ", ".join(joints), mend)
    return ok(name, f"those of {guard.robot}")


def _pace(bundle: Bundle, guard: GuardSettings) -> Finding:
    """A chunk must come before the watchdog bites, and its steps must last until then."""
    name = "bundle's rate"
    spec = bundle.spec
    every_s = spec.action.replan_every_ticks / spec.rate_hz
    ahead_s = spec.action.future_steps / spec.rate_hz
    found = f"{spec.rate_hz:g} Hz, a chunk every {every_s:.2f} s, {ahead_s:.2f} s long"
    watchdog_s = guard.watchdog_ns / 1e9
    # Inference answers every context, also between two samples (docs/adr/0007), so a tick is what the watchdog waits for.
    if 1.0 / spec.rate_hz >= watchdog_s:
        return fail(
            name,
            found,
            f"the watchdog stops the arm after {watchdog_s:.2f} s without a chunk: raise watchdog_s, or the rate",
        )
    if ahead_s < every_s:
        return warn(name, found, "a chunk ends before the next one is drawn: lower replan_every_ticks")
    return ok(name, found)
