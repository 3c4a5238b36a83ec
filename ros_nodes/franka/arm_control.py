"""Everything between a chunk and an arm: the guard, the arm's states, and what must be true for motion. Plain Python.

``arm_node`` hands in what it receives and the time; a backend carries out what comes of it.
"""

import numpy as np

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.clock import ns_to_seconds
from ros_nodes.command_window import CommandWindow
from ros_nodes.franka.arm_states import ArmState, ArmStates, CommandRefused
from ros_nodes.franka.backends.backend import ArmBackend, ArmMode, ArmReading, BackendError
from ros_nodes.franka.contact import CONTACT_REASONS, Contact, torque_contact, wrench_contact
from ros_nodes.franka.dead_man import DeadMan
from ros_nodes.franka.guard import HOLDING, UNLATCHED, Guard, LatchError
from ros_nodes.franka.limits import FloatArray
from ros_nodes.franka.settings import GuardSettings

_READY = (ArmMode.IDLE, ArmMode.MOVING)


class ArmControl:
    """Follows chunks when the arm's state allows it. Calls come one at a time; the clock is the caller's.

    Attributes:
        guard: limits and set-points.
        states: what the arm may do, and why.
        reading: what the arm measured last, None before the first time.
        contacts: how often each contact limit stopped the arm.
    """

    def __init__(
        self,
        settings: GuardSettings,
        backend: ArmBackend,
        *,
        auto_arm: bool = False,
        auto_resume: bool = False,
        latch_age_ns: int = 100_000_000,
        dead_man: DeadMan | None = None,
    ) -> None:
        """``auto_arm``, ``auto_resume``: see ``ArmStates``. ``latch_age_ns``: how much older than the chunk a measured position
        may be at the start. ``dead_man``: the switch that must be held, None where there is none."""
        self.guard = Guard(settings)
        self.states = ArmStates(auto_arm=auto_arm, auto_resume=auto_resume)
        self.reading: ArmReading | None = None
        self.contacts = dict.fromkeys(CONTACT_REASONS, 0)
        self._settings = settings
        self._backend = backend
        self._auto_arm = auto_arm
        self._latch_age_ns = latch_age_ns
        self._dead_man = dead_man
        self._torques_nm: FloatArray | None = None
        self._window = CommandWindow(len(self.guard.joints))
        self._at_rest_ns = 0
        self._not_before_ns = 0
        self._rests_ns: int | None = None

    def hear_dead_man(self, pressed: bool, now_ns: int) -> None:
        """What the dead-man switch says."""
        if self._dead_man is not None:
            self._dead_man.hear(pressed, now_ns)

    def measure_torques(self, torques_nm: FloatArray) -> None:
        """Measured torques of the arm's joints, float64 (7,), where the robot publishes them."""
        self._torques_nm = torques_nm

    # --- what an operator commands ------------------------------------------------------------------------------------

    def arm(self, now_ns: int) -> str:
        """Let the next chunk move the arm; returns what is so now. Raises CommandRefused with what is in the way."""
        if self.states.state != ArmState.RUNNING:
            self._refuse_when_not_fit(now_ns)
        self.states.arm()
        return self.states.cause

    def pause(self) -> str:
        """Come to rest and hold until armed again. Raises CommandRefused."""
        self.states.pause()
        self.guard.halt(self.states.cause)
        return "coming to rest; arm to go on"

    def stop(self) -> str:
        """Come to rest and stay so until recovered and armed."""
        self._fault("stopped by the operator")
        return "coming to rest; recover and arm to go on"

    def refuse_recovery(self) -> str:
        """Raises CommandRefused while the arm is not one to recover; else says so."""
        state = self.states.state
        if state not in (ArmState.FAULT, ArmState.UNARMED):
            raise CommandRefused(f"the arm is {state}: stop it before you recover it")
        if self.guard.state != UNLATCHED:
            raise CommandRefused("the arm is still coming to rest: recover again in a moment")
        return "can be recovered"

    def recovered(self, now_ns: int) -> str:
        """The backend has recovered and nothing of the past is left; wait to be armed. Raises CommandRefused."""
        self.refuse_recovery()
        self.reading = self._backend.read()
        if self.reading is not None and self.reading.mode not in _READY:
            raise CommandRefused(f"after the recovery the arm is {_described(self.reading)}: see the robot")
        self._let_go()
        self._not_before_ns = now_ns
        self.states.recovered()
        return "recovered; arm to go on"

    def reset(self, now_ns: int) -> None:
        """A new episode: the guard takes over again where the arm is measured from now on. A fault stays."""
        self._let_go()
        self._not_before_ns = now_ns
        self.states.reset()

    # --- what happens in time -----------------------------------------------------------------------------------------

    def is_ready_for(self, chunk: ActionChunk, now_ns: int) -> bool:
        """Whether the guard is latched or no chunk may move the arm anyway; else latch it, once the arm is measured at rest.

        What was given out before the guard let go still brings the arm to rest; only then does its position say where it
        stands. Raises LatchError when the arm stands where it cannot be taken over and nobody armed it by hand.
        """
        if self.guard.state != UNLATCHED or not self.states.may_follow:
            return True
        reading = self.reading = self._backend.read()
        earliest_ns = max(chunk.stamp_ns - self._latch_age_ns, self._at_rest_ns, self._not_before_ns)
        if reading is None or reading.stamp_ns < earliest_ns or reading.mode not in _READY:
            return False
        try:
            self.guard.latch(_positions(reading), now_ns)
        except LatchError as error:
            if self._auto_arm:
                raise
            self._fault(str(error))
        self._window.clear()
        return True

    def follow(self, chunk: ActionChunk, now_ns: int, bundle_hash: str = "") -> bool:
        """A chunk has come; False when the arm may not move and so nobody looked at it.

        Raises ChunkRefused when the guard does not take it.
        """
        if not self.states.may_follow or self.guard.state == UNLATCHED:
            return False
        self.guard.take_up_from_tail(now_ns)
        self.guard.accept(chunk, now_ns, bundle_hash)
        self.states.chunk_followed()
        return True

    def advance(self, now_ns: int, until_ns: int, *, at_rest_ends: bool = True) -> None:
        """Look at the arm, fix the set-points up to ``until_ns`` and hand on all that are to come after ``now_ns``.

        ``at_rest_ends`` false: the arm stands still while the graph waits, so that a later latch need not wait for it.
        """
        self._watch(now_ns)
        if self.guard.state == UNLATCHED:
            return
        self.guard.take_up_from_tail(now_ns)
        self._window.extend(self.guard.advance(until_ns))
        if not self.guard.is_led:
            self.states.fell_silent(self.guard.reason)
        self._hand_on(now_ns)
        if not at_rest_ends:
            self._at_rest_ns = 0
        if self.states.state == ArmState.FAULT and self.guard.state == HOLDING:
            self._end_motion(now_ns)

    def come_to_rest(self, now_ns: int) -> None:
        """The last word: what is fixed already, then the braking tail."""
        if self.guard.state == UNLATCHED:
            return
        self._hand_on(now_ns)
        self._let_go()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _hand_on(self, now_ns: int) -> None:
        self._window.drop_until(now_ns)
        points = self._window.with_tail(self.guard.braking_tail())
        self._at_rest_ns = int(points.times_ns[-1])
        try:
            self._backend.follow(points)
        except BackendError as error:
            self._lose(str(error))

    def _end_motion(self, now_ns: int) -> None:
        """In a fault the arm is let go once it rests; until then it is led there."""
        if self._rests_ns is None:
            self._rests_ns = self.guard.time_ns
        if now_ns >= self._rests_ns:
            self._backend.stop()
            self._let_go()

    def _watch(self, now_ns: int) -> None:
        """See what the arm and the operator's switch say, and stop where they say so."""
        reading = self.reading = self._backend.read()
        if reading is not None and reading.mode == ArmMode.REFLEX:
            self._fault(f"the robot stopped by itself: {', '.join(reading.errors) or 'no error named'}")
            self._let_go()
        waits = self.guard.state == UNLATCHED
        if waits and not self.states.may_follow:
            return
        if reading is not None and reading.mode == ArmMode.USER_STOPPED:
            self._fault("the robot is user stopped: release the enabling button or the emergency stop")
            self._let_go()
        elif reading is not None and reading.mode == ArmMode.DISCONNECTED:
            if waits and self._auto_arm:
                return  # nobody armed it yet, and it need not be there yet
            self._lose("the arm does not answer: check its driver and its connection")
        elif contact := self._contact():
            if self.states.state != ArmState.FAULT:
                self.contacts[contact.reason] += 1
            self._fault(contact.message)
        elif self.states.may_follow and (complaint := self._dead_man_complaint(now_ns)):
            self.states.hold(complaint, resumes=False)
            self.guard.halt(complaint)

    def _contact(self) -> Contact | None:
        limits, wrench = self._settings.contact, self.reading.external_wrench if self.reading is not None else None
        contact = wrench_contact(wrench, limits) if wrench is not None else None
        if contact is None and self._torques_nm is not None:
            contact = torque_contact(self._torques_nm, limits)
        return contact

    def _dead_man_complaint(self, now_ns: int) -> str:
        return self._dead_man.complaint(now_ns) if self._dead_man is not None else ""

    def _refuse_when_not_fit(self, now_ns: int) -> None:
        reading = self.reading = self._backend.read()
        if reading is None:
            raise CommandRefused("the arm was never measured: do joint states arrive?")
        age_ns = now_ns - reading.stamp_ns
        if reading.mode not in _READY:
            raise CommandRefused(f"the arm is {_described(reading)}: mend that, then recover")
        if age_ns > self._latch_age_ns:
            raise CommandRefused(f"the arm was measured {ns_to_seconds(age_ns):.2f} s ago: do joint states arrive?")
        if contact := self._contact():
            raise CommandRefused(contact.message)
        if complaint := self._dead_man_complaint(now_ns):
            raise CommandRefused(complaint)
        try:
            self.guard.check_latch(_positions(reading))
        except LatchError as error:
            raise CommandRefused(str(error)) from None

    def _fault(self, cause: str) -> None:
        self.states.fault(cause)
        self.guard.halt(cause)

    def _lose(self, cause: str) -> None:
        """The arm is out of reach: what it has brings it to rest, and where it then stands must be measured anew."""
        if self._auto_arm:
            self.states.fell_silent(cause)
        else:
            self._fault(cause)
        self._let_go()

    def _let_go(self) -> None:
        self.guard.unlatch()
        self._window.clear()
        self._rests_ns = None


def _positions(reading: ArmReading) -> FloatArray:
    """Seven joints and the finger. Raises LatchError when the gripper's width is not known."""
    if reading.gripper_width_m is None:
        raise LatchError("the gripper's width is not known: do joint states name the finger, or does the hand answer?")
    return np.append(reading.positions_rad, 0.5 * reading.gripper_width_m)


def _described(reading: ArmReading) -> str:
    return f"in mode {reading.mode}" + (f" ({', '.join(reading.errors)})" if reading.errors else "")
