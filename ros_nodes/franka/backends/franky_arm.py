"""A real arm from pip alone: libfranka through franky, in joint velocity control.

franky runs libfranka's 1 kHz loop in C++ and plans from one velocity to the next by itself, in the robot's own time, so
neither a busy interpreter nor a late packet makes the commands jump. Every 20 ms a motion of two waypoints takes over from
the one before it: the set-points' velocity a little ahead, corrected by the error of position, and then rest. If this
interpreter stalls, the arm brakes and holds.

Why velocities: a position motion of franky's that takes over starts half a step too slow, which is a jump of the
acceleration; a velocity motion does not (docs/adr/0018). Two settings of franky matter as well: its low-pass filter stays
off, since a motion that takes over starts from the unfiltered command, and its limits are set to the robot's, since its own
are those of the Panda.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ros_nodes.franka.backends.backend import (
    ArmConnectionError,
    ArmMode,
    ArmNotReadyError,
    ArmReading,
)
from ros_nodes.franka.backends.franky_hand import FrankyHand
from ros_nodes.franka.backends.franky_library import error_names, franky_library, one_line
from ros_nodes.franka.backends.franky_robot import connect, move, recover
from ros_nodes.franka.backends.franky_settings import FrankySettings
from ros_nodes.franka.backends.lead import ARM_JOINTS, Lead, lead_from
from ros_nodes.franka.backends.realtime import own_threads, prefer
from ros_nodes.franka.limits import FloatArray, JointLimits
from ros_nodes.franka.set_points import SetPoints

ClockNs = Callable[[], int]

_HOLD_MS = 24 * 3600 * 1000
_ARRIVED_RAD = 2e-4
_READY = (ArmMode.IDLE, ArmMode.MOVING)
_MODES = {
    "Idle": ArmMode.IDLE,
    "Move": ArmMode.MOVING,
    "Reflex": ArmMode.REFLEX,
    "UserStopped": ArmMode.USER_STOPPED,
    "AutomaticErrorRecovery": ArmMode.REFLEX,
}


class FrankyArm:
    """One arm, and its hand, behind libfranka; see ``ArmBackend``.

    All calls to franky's robot are made under one lock, by a thread that reads and commands, or by ``recover``.

    Attributes:
        reflex_count: motions that the robot aborted.
    """

    def __init__(
        self,
        settings: FrankySettings,
        limits: JointLimits,
        clock_ns: ClockNs = time.time_ns,
        on_reading: Callable[[ArmReading], None] = lambda reading: None,
        library: Any = None,
    ) -> None:
        """Connects. ``on_reading`` is called with every measurement, in the thread that talks to the robot.

        Raises BackendMissingError, or ArmConnectionError when nobody answers.
        """
        self.reflex_count = 0
        self._settings = settings
        self._limits = limits
        self._clock_ns = clock_ns
        self._on_reading = on_reading
        self._franky = library or franky_library()
        self._lock = threading.RLock()
        self._reading: ArmReading | None = None
        self._reflex_errors: tuple[str, ...] = ()
        self._points: SetPoints | None = None
        self._led: SetPoints | None = None
        self._led_ns = 0
        self._arrived: SetPoints | None = None
        self._stop_wanted = False
        self._moving = False
        self._connected = False
        self._ended = threading.Event()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._hand: FrankyHand | None = None
        self._robot: Any = None
        self._fastest_rad_s: FloatArray = np.zeros(ARM_JOINTS)
        self._connect()
        self._read()
        self._thread = threading.Thread(target=self._run, name="franky arm", daemon=True)
        self._thread.start()

    def read(self) -> ArmReading | None:
        return self._reading

    def follow(self, points: SetPoints) -> None:
        self._refuse_when_not_ready()
        if len(points):
            self._points = points
            self._wake.set()

    def stop(self) -> None:
        self._points = None
        self._stop_wanted = True
        self._stopped.clear()
        self._wake.set()

    def recover(self) -> None:
        reading = self._reading
        if reading is not None and reading.mode in _READY:
            return
        self._points = None
        with self._lock:
            if not self._connected:
                self._connect()
            self._moving = False
            recover(self._franky, self._robot, self._settings)
            self._reflex_errors, self._stop_wanted = (), False
            self._read()

    def close(self) -> None:
        if self._ended.is_set():
            return
        self.stop()
        self._stopped.wait(self._settings.stop_s)
        self._ended.set()
        self._wake.set()
        self._thread.join(timeout=self._settings.stop_s)
        if self._hand is not None:
            self._hand.close()
        self._lose()
        self._robot = None  # the last reference ends libfranka's connection

    # --- the thread that talks to the robot --------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ended.is_set():
            with self._lock:
                try:
                    self._step()
                except self._franky.ControlException:
                    self._moving = False
                    self._note_reflex(self._cause())
                except self._franky.NetworkException:
                    self._lose("connection_lost")
                except Exception as error:
                    # A motion that franky refuses. The one before it brakes and then holds, and a person has to know why.
                    self._note_reflex((f"franky: {one_line(error)}",))
            self._wake.wait(self._settings.read_period_ns * 1e-9)
            self._wake.clear()

    def _step(self) -> None:
        if not self._connected:
            self._stopped.set()
            return
        self._robot.poll_motion()  # raises what ended a motion
        self._read()
        if self._stop_wanted:
            self._end_motion()
            return
        if self._points is not None and self._reading is not None and self._reading.mode in _READY:
            self._lead(self._points)

    def _lead(self, points: SetPoints) -> None:
        """Lead the arm anew, now and then also without newer set-points, until it rests where they end."""
        now_ns = self._clock_ns()
        is_over = int(points.times_ns[-1]) <= now_ns
        is_new = points is not self._led
        is_due = is_new or now_ns - self._led_ns >= self._settings.lead_period_ns
        if not is_due or points is self._arrived or (is_over and not self._moving):
            return
        commanded = np.array(self._robot.state.q_d, np.float64)
        if is_over and np.abs(points.positions[-1, :ARM_JOINTS] - commanded).max() < _ARRIVED_RAD:
            self._arrived = points
        self._led, self._led_ns = points, now_ns
        lead = lead_from(points, now_ns, commanded, self._limits, self._settings.lead)
        others = own_threads() if not self._moving else None
        move(self._robot, self._motion(lead))
        self._moving = True
        if others is not None:
            prefer(own_threads() - others)  # libfranka's, which lives as long as the motion
        if is_new and self._hand is not None:
            self._hand.move(2.0 * float(points.positions[-1, ARM_JOINTS]))

    def _motion(self, lead: Lead) -> Any:
        franky = self._franky
        velocity = np.clip(lead.velocity_rad_s, -self._fastest_rad_s, self._fastest_rad_s)
        ahead = franky.JointVelocityWaypoint(velocity, minimum_time=franky.Duration(round(lead.duration_s * 1000)))
        rest = franky.JointVelocityWaypoint(np.zeros(ARM_JOINTS), hold_target_duration=franky.Duration(_HOLD_MS))
        return franky.JointVelocityWaypointMotion([ahead, rest])

    def _end_motion(self) -> None:
        """One step of a stop: start it, and later see that it is over."""
        if self._moving:
            move(self._robot, self._franky.JointVelocityStopMotion())
            self._moving = False
        if not self._robot.is_in_control:
            self._stop_wanted = False
            self._stopped.set()

    def _read(self) -> None:
        state = self._robot.state
        mode = _MODES.get(state.robot_mode.name, ArmMode.USER_STOPPED)
        if mode in _READY and self._reflex_errors:
            mode = ArmMode.REFLEX  # stands until `recover`, also where the robot forgets it sooner
        self._reading = ArmReading(
            stamp_ns=self._clock_ns(),
            positions_rad=np.array(state.q, np.float64),
            velocities_rad_s=np.array(state.dq, np.float64),
            external_wrench=np.array(state.O_F_ext_hat_K, np.float64),
            gripper_width_m=self._hand.width_m if self._hand is not None else 0.0,
            mode=mode,
            errors=self._errors(state),
        )
        self._on_reading(self._reading)

    def _errors(self, state: Any) -> tuple[str, ...]:
        errors = dict.fromkeys((*error_names(state.current_errors), *self._reflex_errors))
        if self._hand is not None and self._hand.problem:
            errors[self._hand.problem] = None
        return tuple(errors)

    def _note_reflex(self, names: tuple[str, ...]) -> None:
        self.reflex_count += 1
        self._reflex_errors = names
        self._points, self._stop_wanted = None, False
        self._stopped.set()
        if self._reading is not None:
            self._reading = replace(self._reading, mode=ArmMode.REFLEX, errors=names)

    def _cause(self) -> tuple[str, ...]:
        """The errors that ended the motion, as the robot names them."""
        with contextlib.suppress(self._franky.NetworkException):
            return error_names(self._robot.state.last_motion_errors) or ("motion_aborted",)
        return ("motion_aborted",)

    def _lose(self, *errors: str) -> None:
        self._connected, self._moving, self._points, self._stop_wanted = False, False, None, False
        self._stopped.set()
        if self._reading is not None:
            self._reading = replace(
                self._reading, external_wrench=None, gripper_width_m=None, mode=ArmMode.DISCONNECTED, errors=errors
            )

    def _connect(self) -> None:
        self._robot, hand = connect(self._franky, self._settings, self._limits)
        self._fastest_rad_s = np.array(self._robot.joint_velocity_limit.get(), np.float64)
        if self._hand is not None:
            self._hand.close()
        self._hand = FrankyHand(hand, self._settings) if hand is not None else None
        self._connected = True

    def _refuse_when_not_ready(self) -> None:
        reading = self._reading
        assert reading is not None
        if reading.mode == ArmMode.DISCONNECTED:
            raise ArmConnectionError(
                f"no connection to the robot at {self._settings.address}: recover, or restart the node"
            )
        if reading.mode not in _READY:
            raise ArmNotReadyError(f"the arm is in mode {reading.mode} ({', '.join(reading.errors)}): recover it first")
