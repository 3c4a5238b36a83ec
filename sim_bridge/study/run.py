"""The study's main loop: begins cells, takes up what they came to, and shows how far it is."""

import time
from dataclasses import dataclass

from sim_bridge.study.cell_run import stage_of
from sim_bridge.study.cells import Cell
from sim_bridge.study.engine import Engine
from sim_bridge.study.plan import Plan, first_that_fits, is_chosen
from sim_bridge.study.progress import Display, RunningCell, Status, describe

_SHOW_EVERY_S = 0.5


@dataclass(frozen=True)
class RunLimits:
    """``only``: pattern of the cells to run; ``time_limit_s``: no cell is begun that would end later than that."""

    only: str = "*"
    time_limit_s: float | None = None


def run_cells(plan: Plan, engine: Engine, limits: RunLimits, display: Display) -> list[Cell]:
    """Run what is pending, until all is done or nothing more fits; returns the cells that were left for want of time.

    Whatever ends it, the cells at work are ended too, and go on in the next run.
    """
    return _Run(plan, engine, limits, display).run()


class _Run:
    def __init__(self, plan: Plan, engine: Engine, limits: RunLimits, display: Display) -> None:
        self._plan, self._engine, self._limits, self._display = plan, engine, limits, display
        self._begun_s = time.monotonic()
        self._waiting = plan.pending(limits.only)
        self._total = len(self._waiting)
        self._running: dict[str, tuple[Cell, float]] = {}
        self._done = self._failed = 0

    def run(self) -> list[Cell]:
        try:
            while self._begin() or self._running:
                for end in self._engine.finished(_SHOW_EVERY_S):
                    del self._running[end.hash]
                    self._take_up_again(self._plan.add(end))
                    self._failed += end.hash in self._plan.failures
                    self._done += end.hash in self._plan.results
                    self._display.tell(describe(end), self._status())
                self._display.show(self._status())
        finally:
            self._engine.stop()
        return self._waiting

    def _begin(self) -> bool:
        """Fill the free slots; whether anything was begun."""
        begun = False
        while len(self._running) < self._engine.slots:
            cell = first_that_fits(self._waiting, self._plan, self._time_left_s())
            if cell is None:
                break
            self._waiting.remove(cell)
            self._engine.submit(self._plan.begin(cell))
            self._running[cell.hash] = (cell, time.monotonic())
            begun = True
        return begun

    def _take_up_again(self, cells: list[Cell]) -> None:
        """Cells that have lost their result, of those that are chosen."""
        chosen = [cell for cell in cells if is_chosen(cell, self._limits.only)]
        self._waiting += chosen
        self._total += len(chosen)

    def _time_left_s(self) -> float | None:
        limit_s = self._limits.time_limit_s
        return None if limit_s is None else limit_s - (time.monotonic() - self._begun_s)

    def _status(self) -> Status:
        now_s = time.monotonic()
        running = []
        for cell, begun_s in self._running.values():
            stage, share = stage_of(cell, self._plan.folder(cell))
            running.append(RunningCell(cell.id, stage, share, now_s - begun_s))
        return Status(self._done, self._failed, self._total, running, self._work_left_s(now_s))

    def _work_left_s(self, now_s: float) -> float | None:
        """Wall time that is left by the measured cells; None as long as there are none."""
        waiting_s = self._plan.estimate_s(self._waiting)
        running_s = self._plan.estimate_s(cell for cell, _ in self._running.values())
        if None in waiting_s or None in running_s:
            return None
        elapsed_s = [now_s - begun_s for _, begun_s in self._running.values()]
        rest_s = [
            max(0.0, needed - gone) for needed, gone in zip(running_s, elapsed_s, strict=True) if needed is not None
        ]
        work_s = sum(needed for needed in waiting_s if needed is not None) + sum(rest_s)
        return max([work_s / max(1, self._engine.slots), *rest_s])
