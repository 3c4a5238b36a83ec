"""An arm for tests: follows set-points exactly, after a delay, loses some of them, and refuses on demand."""

from collections.abc import Callable

import numpy as np

from ros_nodes.franka.backends.backend import ArmMode, ArmNotReadyError, ArmReading, RecoveryError
from ros_nodes.franka.backends.lead import ARM_JOINTS, motion_at
from ros_nodes.franka.limits import FloatArray
from ros_nodes.franka.set_points import SetPoints

ClockNs = Callable[[], int]

_READY = (ArmMode.IDLE, ArmMode.MOVING)


class FakeArm:
    """See ``ArmBackend``; everything it does follows from the clock, its settings and the seed."""

    def __init__(
        self,
        start_rad: FloatArray,
        clock_ns: ClockNs,
        *,
        delay_ns: int = 0,
        loss: float = 0.0,
        seed: int = 0,
        gripper_width_m: float = 0.08,
    ) -> None:
        """``delay_ns``: from a set-point's time to the arm. ``loss``: share of ``follow`` calls that never arrive."""
        self._clock_ns = clock_ns
        self._delay_ns = delay_ns
        self._loss = loss
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._rest = np.array(start_rad, np.float64)
        self._points: SetPoints | None = None
        self._gripper_width_m = gripper_width_m
        self._fault: ArmMode | None = None
        self._errors: tuple[str, ...] = ()
        self._recovery_fails_at = ""

    def read(self) -> ArmReading | None:
        position, velocity = self._motion()
        return ArmReading(
            self._clock_ns(), position, velocity, np.zeros(6), self._gripper_width_m, self._mode(), self._errors
        )

    def follow(self, points: SetPoints) -> None:
        if self._mode() not in _READY:
            raise ArmNotReadyError(f"the arm is in mode {self._mode()} ({', '.join(self._errors)}): recover it first")
        if len(points) == 0 or points.times_ns[-1] <= self._clock_ns():
            return
        if self._random.random() < self._loss:
            return
        self._points = points
        self._gripper_width_m = 2.0 * float(points.positions[-1, ARM_JOINTS])

    def stop(self) -> None:
        self._rest = self._motion()[0]
        self._points = None

    def recover(self) -> None:
        if self._fault == ArmMode.USER_STOPPED:
            raise RecoveryError("the arm is user stopped: release it, then recover again")
        if self._recovery_fails_at:
            raise RecoveryError(f"recovery failed at '{self._recovery_fails_at}'")
        if self._fault is not None:
            self._points, self._fault, self._errors = None, None, ()

    def close(self) -> None:
        self.stop()
        self._fault, self._errors = ArmMode.DISCONNECTED, ()

    def fail(self, mode: ArmMode, *errors: str, recovery_fails_at: str = "") -> None:
        """Stop where it stands and refuse set-points until it is recovered, or for good."""
        self.stop()
        self._fault, self._errors, self._recovery_fails_at = mode, errors, recovery_fails_at

    def release(self) -> None:
        """What a person does after a user stop."""
        self._fault, self._errors = None, ()

    def _motion(self) -> tuple[FloatArray, FloatArray]:
        if self._points is None:
            return self._rest, np.zeros_like(self._rest)
        position, velocity = motion_at(self._points, self._clock_ns() - self._delay_ns)
        return position[:ARM_JOINTS], velocity[:ARM_JOINTS]

    def _mode(self) -> ArmMode:
        if self._fault is not None:
            return self._fault
        ends_ns = self._points.times_ns[-1] + self._delay_ns if self._points is not None else 0
        return ArmMode.MOVING if self._clock_ns() < ends_ns else ArmMode.IDLE
