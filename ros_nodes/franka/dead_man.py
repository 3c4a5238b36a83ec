"""The dead-man switch: motion only while somebody says, again and again, that it may go on."""

from policy_server.runtime.clock import ns_to_seconds


class DeadMan:
    """Remembers what the switch said last."""

    def __init__(self, timeout_ns: int) -> None:
        self._timeout_ns = timeout_ns
        self._heard_ns: int | None = None
        self._pressed = False

    def hear(self, pressed: bool, now_ns: int) -> None:
        """The switch says whether it is held."""
        self._pressed, self._heard_ns = pressed, now_ns

    def complaint(self, now_ns: int) -> str:
        """Why the arm may not move at ``now_ns``; "" when it may."""
        if self._heard_ns is None:
            return "the dead-man switch was never heard: is it on its topic?"
        silent_ns = now_ns - self._heard_ns
        if silent_ns > self._timeout_ns:
            return f"the dead-man switch is silent for {ns_to_seconds(silent_ns):.2f} s: check its connection"
        return "" if self._pressed else "the dead-man switch is released"
