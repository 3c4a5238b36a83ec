"""The Franka Hand through franky. A real hand takes over a second for a command, so it has a thread of its own."""

import threading
import time
from collections.abc import Callable
from typing import Any

from ros_nodes.franka.backends.franky_library import one_line
from ros_nodes.franka.backends.franky_settings import FrankySettings

FULL_WIDTH_M = 0.08
_SAME_WIDTH_M = 0.002
_INTERRUPT_M = 0.02
_POLL_S = 0.05
_RETRY_S = 1.0


class FrankyHand:
    """Brings the fingers to the newest width that was asked for.

    A width near 0 is a grasp with wide tolerances, which closes until the fingers meet something and holds that with force;
    every other width is a plain move. A command under way is interrupted only for a width far from its own: a policy's
    widths change a little at every tick, and the hand would never arrive. A width that was refused or not reached counts as
    never asked for: nothing moves until somebody asks again, and then not sooner than a second after the refusal.

    Attributes:
        width_m: distance between the fingers, as measured last.
        problem: what went wrong last, "" again once a command succeeds.
    """

    def __init__(self, hand: Any, settings: FrankySettings, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.width_m = float(hand.state.width)
        self.problem = ""
        self._hand = hand
        self._settings = settings
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._wanted_m: float | None = None
        self._under_way_m: float | None = None
        self._reached_m: float | None = None
        self._refused_m: float | None = None
        self._again_s = 0.0
        self._running: Any = None
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="franky hand", daemon=True)
        self._thread.start()

    def move(self, width_m: float) -> None:
        """Ask for a width, m; clipped to what the hand can do. Returns at once."""
        with self._lock:
            self._wanted_m = min(max(width_m, 0.0), FULL_WIDTH_M)
        self._wake.set()

    def close(self) -> None:
        """End the thread; the fingers stay where they are."""
        self._ended.set()
        self._wake.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._step()
            except Exception as error:
                # One refusal, or a hand that was unplugged, must not end the arm.
                self._note_failure(one_line(error))
            self._wake.wait(_POLL_S)
            self._wake.clear()

    def _step(self) -> None:
        self.width_m = float(self._hand.state.width)
        if self._running is not None and self._running.wait(0.0):
            self._note_end(self._running.get())
        wanted = self._wanted_m
        if wanted is None or self._is_done(wanted) or self._is_too_soon(wanted):
            return
        if self._running is not None:
            self._running = None
            self._hand.stop()
        self._command(wanted)

    def _is_done(self, wanted_m: float) -> bool:
        """Whether the command under way, or else the width reached last, is near enough."""
        if self._under_way_m is not None:
            return abs(wanted_m - self._under_way_m) <= _INTERRUPT_M
        return _is_same(wanted_m, self._reached_m)

    def _is_too_soon(self, wanted_m: float) -> bool:
        """A policy says the same width ten times a second; a hand that refuses it is not asked so often."""
        return _is_same(wanted_m, self._refused_m) and self._clock_s() < self._again_s

    def _command(self, width_m: float) -> None:
        self._under_way_m, self._reached_m = width_m, None
        speed, force = self._settings.hand_speed_m_s, self._settings.hand_force_n
        if width_m < self._settings.grasp_below_m:
            self._running = self._hand.grasp_async(width_m, speed, force, FULL_WIDTH_M, FULL_WIDTH_M)
        else:
            self._running = self._hand.move_async(width_m, speed)

    def _note_end(self, succeeded: bool) -> None:
        if not succeeded:
            self._note_failure(
                f"it did not come to {self._under_way_m:.3f} m; is something between or behind the fingers?"
            )
            return
        self._reached_m, self._under_way_m, self._running, self.problem = self._under_way_m, None, None, ""

    def _note_failure(self, what: str) -> None:
        self.problem, self._running = f"hand: {what}", None
        failed_m, self._under_way_m = self._under_way_m, None
        if failed_m is None:
            return  # its state could not be read; no command failed
        self._refused_m, self._again_s = failed_m, self._clock_s() + _RETRY_S
        with self._lock:
            if self._wanted_m is not None and _is_same(self._wanted_m, failed_m):
                self._wanted_m = None


def _is_same(width_m: float, other_m: float | None) -> bool:
    return other_m is not None and abs(width_m - other_m) <= _SAME_WIDTH_M
