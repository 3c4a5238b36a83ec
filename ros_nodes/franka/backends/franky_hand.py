"""The Franka Hand through franky. A real hand takes over a second for a command, so it has a thread of its own."""

import threading
from typing import Any

from ros_nodes.franka.backends.franky_settings import FrankySettings

FULL_WIDTH_M = 0.08
_SAME_WIDTH_M = 0.002
_INTERRUPT_M = 0.02
_POLL_S = 0.05


class FrankyHand:
    """Brings the fingers to the newest width that was asked for.

    A width near 0 is a grasp with wide tolerances, which closes until the fingers meet something and holds that with force;
    every other width is a plain move. A command under way is interrupted only for a width far from its own: a policy's
    widths change a little at every tick, and the hand would never arrive.

    Attributes:
        width_m: distance between the fingers, as measured last.
        problem: what the hand refused last, "" while all is well.
    """

    def __init__(self, hand: Any, settings: FrankySettings) -> None:
        self.width_m = float(hand.state.width)
        self.problem = ""
        self._hand = hand
        self._settings = settings
        self._wanted_m: float | None = None
        self._commanded_m: float | None = None
        self._running: Any = None
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="franky hand", daemon=True)
        self._thread.start()

    def move(self, width_m: float) -> None:
        """Ask for a width, m; clipped to what the hand can do. Returns at once."""
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
                self._running = None
                self.problem = f"hand: {' '.join(str(error).split())}"
            self._wake.wait(_POLL_S)
            self._wake.clear()

    def _step(self) -> None:
        self.width_m = float(self._hand.state.width)
        if self._running is not None and self._running.wait(0.0):
            finished, self._running = self._running, None
            finished.get()
        wanted = self._wanted_m
        if wanted is None or self._is_done(wanted):
            return
        if self._running is not None:
            self._hand.stop()
            self._running = None
        self._command(wanted)

    def _is_done(self, wanted_m: float) -> bool:
        """Whether the command given last, or the one under way, is near enough."""
        if self._commanded_m is None:
            return False
        tolerance_m = _SAME_WIDTH_M if self._running is None else _INTERRUPT_M
        return abs(wanted_m - self._commanded_m) <= tolerance_m

    def _command(self, width_m: float) -> None:
        speed, force = self._settings.hand_speed_m_s, self._settings.hand_force_n
        if width_m < self._settings.grasp_below_m:
            self._running = self._hand.grasp_async(width_m, speed, force, FULL_WIDTH_M, FULL_WIDTH_M)
        else:
            self._running = self._hand.move_async(width_m, speed)
        self._commanded_m = width_m
        self.problem = ""
