"""From single frames and joint states to one observation per policy tick."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.clock import ns_to_seconds
from policy_server.runtime.errors import ObservationError, StaleInputError, StampError
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.preprocessing import check_image

T = TypeVar("T")

_FRAMES_KEPT = 64
_JOINT_STATES_KEPT = 512
_JOINT_STATES = "joint_states"


@dataclass(frozen=True)
class Observation:
    """What the policy sees at one tick.

    Attributes:
        stamp_ns: capture stamp of the first camera's frame; without cameras that of the joints and features.
        images: camera name → uint8 (source_height, source_width, 3) RGB.
        state: float32 (S,): joint positions in the policy's order, rad and m, then its features.
    """

    stamp_ns: int
    images: Mapping[str, NDArray[np.uint8]]
    state: NDArray[np.float32]


class ObservationAssembler:
    """Aligns cameras and joint states by stamp.

    The first camera sets the pace: its first frame makes a tick, and then the first frame that is due again, a quarter of a
    period of jitter allowed; a camera that is faster than the policy is thinned out so that the mean rate holds. Of every
    other camera and of the joint states the sample nearest to the tick is taken, and waited for while none lies within the
    allowed skew. A tick whose partner can no longer come, because a later sample is there already, is given up and counted
    in ``lost_ticks``; whether the memory bridges the gap is the history's decision. Ticks come out in order.
    Without cameras the joint states set the pace in the same way.
    """

    def __init__(self, spec: PolicySpec, *, camera_skew_ns: int, joint_skew_ns: int) -> None:
        self._spec = spec
        self._cameras = {camera.name: camera for camera in spec.cameras}
        self._pace = spec.cameras[0].name if spec.cameras else None
        self._camera_skew_ns = camera_skew_ns
        self._joint_skew_ns = joint_skew_ns
        self.clear()

    def clear(self) -> None:
        """Forget all samples and the last tick: for a new episode or after an error."""
        self._frames: dict[str, deque[tuple[int, NDArray[np.uint8]]]] = {
            name: deque(maxlen=_FRAMES_KEPT) for name in self._cameras
        }
        self._states: deque[tuple[int, NDArray[np.float32]]] = deque(maxlen=_JOINT_STATES_KEPT)
        # Ticks that are not complete yet, with the pace-setting camera's frame.
        self._ticks: deque[tuple[int, dict[str, NDArray[np.uint8]]]] = deque(maxlen=_FRAMES_KEPT)
        self._due_ns: int | None = None
        self._newest_ns: dict[str, int] = {}
        self.lost_ticks = 0

    def add_image(self, camera: str, stamp_ns: int, image: NDArray[np.uint8]) -> None:
        """Take a frame, uint8 (source_height, source_width, 3) RGB.

        Raises:
            ObservationError: a camera the policy does not have, or another size or dtype.
            StampError: the stamp lies before that camera's newest one.
        """
        if camera not in self._cameras:
            raise ObservationError(f"camera '{camera}' is not one of the policy's: {', '.join(self._cameras)}")
        check_image(image, self._cameras[camera])
        self._check_stamp(f"camera '{camera}'", stamp_ns)
        self._frames[camera].append((stamp_ns, image))
        if camera == self._pace and self._is_due(stamp_ns):
            self._ticks.append((stamp_ns, {camera: image}))

    def add_joints(self, stamp_ns: int, names: Sequence[str], positions: Sequence[float] | NDArray[np.float64]) -> None:
        """Take joint positions in rad and m, and the policy's features beside them, in any order of names; others are left out.

        Raises:
            ObservationError: a joint or feature of the policy is missing, or a number is not finite.
            StampError: the stamp lies before the newest one.
        """
        by_name = dict(zip(names, positions, strict=False))
        missing = [name for name in self._spec.state_names if name not in by_name]
        if missing:
            raise ObservationError(
                f"joint_states lacks {', '.join(missing)} (has {', '.join(names)}): check the robot's joint names"
            )
        state = np.array([by_name[name] for name in self._spec.state_names], np.float32)
        if not np.isfinite(state).all():
            name, value = next(
                pair for pair in zip(self._spec.state_names, state, strict=True) if not np.isfinite(pair[1])
            )
            raise ObservationError(f"joint_states gives {value} for {name}: check the robot's state publisher")
        self._check_stamp(_JOINT_STATES, stamp_ns)
        self._states.append((stamp_ns, state))
        if self._pace is None and self._is_due(stamp_ns):
            self._ticks.append((stamp_ns, {}))

    def pop(self) -> Observation | None:
        """The next complete observation, or None while a part is still awaited."""
        while self._ticks:
            stamp_ns, frames = self._ticks[0]
            partners = {
                name: _nearest(self._frames[name], stamp_ns, self._camera_skew_ns)
                for name in self._cameras
                if name != self._pace
            }
            state = _nearest(self._states, stamp_ns, self._joint_skew_ns)
            frames = frames | {name: frame for name, frame in partners.items() if frame is not None}
            if state is not None and len(frames) == len(self._cameras):
                self._ticks.popleft()
                return Observation(stamp_ns, frames, state)
            awaited = [name for name in partners if name not in frames]
            if not self._is_lost(stamp_ns, awaited, joints_awaited=state is None):
                return None
            self._ticks.popleft()
            self.lost_ticks += 1
        return None

    def check_fresh(self, now_ns: int, stale_after_ns: int) -> None:
        """Raises StaleInputError naming each input whose newest sample is older than ``stale_after_ns`` or absent."""
        sources = [f"camera '{name}'" for name in self._cameras] + [_JOINT_STATES]
        complaints = []
        for source in sources:
            newest_ns = self._newest_ns.get(source)
            if newest_ns is None:
                complaints.append(f"{source}: nothing received yet")
            elif now_ns - newest_ns > stale_after_ns:
                complaints.append(f"{source}: nothing for {ns_to_seconds(now_ns - newest_ns):.2f} s")
        if complaints:
            raise StaleInputError("; ".join(complaints) + ": check the cable, the driver and the topic's name")

    def _is_lost(self, stamp_ns: int, cameras: Sequence[str], *, joints_awaited: bool) -> bool:
        """Stamps of one source only rise, so a source that is past the tick's skew will not send its partner any more."""
        past = [self._newest_ns.get(f"camera '{name}'", 0) > stamp_ns + self._camera_skew_ns for name in cameras]
        return any(past) or (joints_awaited and self._newest_ns.get(_JOINT_STATES, 0) > stamp_ns + self._joint_skew_ns)

    def _is_due(self, stamp_ns: int) -> bool:
        period_ns = self._spec.period_ns
        if self._due_ns is not None and stamp_ns < self._due_ns - period_ns // 4:
            return False
        late = self._due_ns is None or stamp_ns - self._due_ns >= period_ns
        self._due_ns = (stamp_ns if late or self._due_ns is None else self._due_ns) + period_ns
        return True

    def _check_stamp(self, source: str, stamp_ns: int) -> None:
        newest_ns = self._newest_ns.get(source)
        if newest_ns is not None and stamp_ns < newest_ns:
            raise StampError(
                f"{source}: stamp {stamp_ns} ns lies {ns_to_seconds(newest_ns - stamp_ns):.3f} s before the newest one; "
                "stamps must not go backwards: check the source's clock"
            )
        self._newest_ns[source] = stamp_ns


def _nearest(samples: deque[tuple[int, T]], stamp_ns: int, skew_ns: int) -> T | None:
    """The sample nearest in stamp, or None when none lies within ``skew_ns``."""
    best: tuple[int, T] | None = None
    for sample_ns, sample in reversed(samples):
        distance_ns = abs(sample_ns - stamp_ns)
        if best is not None and distance_ns >= best[0]:
            break
        best = (distance_ns, sample)
    return best[1] if best is not None and best[0] <= skew_ns else None
