"""What the study says while it runs: a live picture on a terminal, a line per event elsewhere."""

import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sim_bridge.intervals import success_rate
from sim_bridge.study.cell_run import Failure
from sim_bridge.study.result import CellResult

_LAST = 8


@dataclass(frozen=True)
class RunningCell:
    """A cell at work: its command, how far that has come (0 to 1, None: unknown), and how long it runs in all."""

    cell: str
    stage: str
    share: float | None
    elapsed_s: float


@dataclass(frozen=True)
class Status:
    """Where the study stands; ``left_s`` None: nothing was measured yet."""

    done: int
    failed: int
    total: int
    running: Sequence[RunningCell]
    left_s: float | None


class Display:
    """Shows the study's progress for as long as the context is entered."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._last: deque[str] = deque(maxlen=_LAST)

    def __enter__(self) -> "Display":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, line: str, status: Status) -> None:
        """Say something that happened."""
        self._last.append(line)
        if self._live is None:
            left = "" if status.left_s is None else f", {duration(status.left_s)} left"
            print(f"[{status.done + status.failed}/{status.total}{left}] {line}", flush=True)
        self.show(status)

    def show(self, status: Status) -> None:
        if self._live is not None:
            self._live.update(_picture(status, list(self._last)), refresh=True)


def describe(end: CellResult | Failure) -> str:
    """A result in one line."""
    if isinstance(end, Failure):
        return f"{end.cell}: {end.stage} failed: {end.error}"
    return f"{end.cell}: {success_rate(end.successes, end.episodes)} in {duration(end.total_s)}"


def counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _picture(status: Status, last: Sequence[str]) -> Group:
    left = "measuring" if status.left_s is None else f"about {duration(status.left_s)} left"
    failed = f", {status.failed} failed" if status.failed else ""
    head = Text(f"{status.done} of {status.total} cells done{failed}; {left}; Ctrl-C stops, the same command goes on")
    table = Table.grid(padding=(0, 2))
    for cell in status.running:
        bar = ProgressBar(total=1.0, completed=cell.share or 0.0, width=24)
        table.add_row(cell.cell, cell.stage, bar, duration(cell.elapsed_s))
    whole = Table.grid()
    whole.add_row(ProgressBar(total=max(1, status.total), completed=status.done + status.failed, width=60))
    return Group(*(Text(line, overflow="ellipsis", no_wrap=True) for line in last), head, whole, table)
