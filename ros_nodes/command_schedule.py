"""When the arm is commanded: on a grid of time, and between two of its points when that spares a chunk a long wait."""

from dataclasses import dataclass

# So soon comes the next point of the grid that a chunk waits for it: at 200 Hz the pauses between commands stay even.
_SOON_NS = 5_000_000


@dataclass
class CommandSchedule:
    """Times are ns of the caller's clock; ``period_ns`` lies between two points of the grid, its multiples."""

    period_ns: int
    _due_ns: int = 0

    def wait_ns(self, now_ns: int) -> int:
        """How long to wait with the command that somebody woke up for; 0: not at all."""
        wait_ns = self._due_ns - now_ns
        # Further off than a period: the clock was set back.
        return wait_ns if 0 < wait_ns <= min(_SOON_NS, self.period_ns) else 0

    def pause_ns(self, now_ns: int) -> int:
        """After a command: until the next point of the grid, so that the command's own length does not add up."""
        self._due_ns = (now_ns // self.period_ns + 1) * self.period_ns
        return self._due_ns - now_ns
