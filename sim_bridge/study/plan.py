"""Where a study stands: its cells, what is known of them, and what is still to be done."""

import dataclasses
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from sim_bridge.study.cell_run import Failure, Job, begin_anew, forget_failure, has_run, read_cell
from sim_bridge.study.cells import Cell, expand
from sim_bridge.study.configuration import StudyConfig
from sim_bridge.study.estimate import estimate_s
from sim_bridge.study.result import CellResult
from sim_bridge.study.table import read_table, table_file, write_table


@dataclass
class Plan:
    """A study and what is known of it. Paths of the configuration count from ``root``.

    Attributes:
        results: of the cells, by hash; from the committed table and from the cells' folders.
        failures: of cells without a result.
        strangers: rows of the table for which the configuration asks no longer.
    """

    config: StudyConfig
    root: Path
    cells: list[Cell]
    results: dict[str, CellResult] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    strangers: list[CellResult] = field(default_factory=list)
    _estimates_s: dict[str, float | None] = field(default_factory=dict)

    @property
    def table(self) -> Path:
        return table_file(self.root / self.config.results, self.config.name)

    @property
    def ordered_results(self) -> list[CellResult]:
        """In the order of the cells."""
        return [self.results[cell.hash] for cell in self.cells if cell.hash in self.results]

    def folder(self, cell: Cell) -> Path:
        return self.root / self.config.output / cell.id

    def job(self, cell: Cell) -> Job:
        base = None if cell.base is None else self.folder(cell.base)
        keeps = self.config.keep_bundles or any(cell.hash == other.base.hash for other in self.cells if other.base)
        return Job(cell, self.folder(cell), self.root, keeps, base)

    def pending(self, only: str = "*") -> list[Cell]:
        """Cells without a result or a failure, of those whose name fits the pattern (``reach_cued*``, or any part of it).

        A cell that one of them adapts is among them, whatever its name, unless its policy is still there.
        """
        known = self.results.keys() | self.failures.keys()
        asked = {cell.hash for cell in self.cells if cell.hash not in known and is_chosen(cell, only)}
        bases = {cell.base.hash for cell in self.cells if cell.hash in asked and cell.base is not None}
        return [cell for cell in self.cells if cell.hash in asked or (cell.hash in bases and self._is_missing(cell))]

    def is_ready(self, cell: Cell) -> bool:
        """Whether the policy that the cell adapts is there; one that adapts none is always ready."""
        return cell.base is None or has_run(self.folder(cell.base))

    def begin(self, cell: Cell) -> Job:
        """The job of a cell that is begun now. One whose result is known but whose policy is gone is run anew."""
        if cell.hash in self.results and not has_run(self.folder(cell)):
            begin_anew(self.folder(cell))
        return self.job(cell)

    def _is_missing(self, cell: Cell) -> bool:
        return cell.hash not in self.failures and not has_run(self.folder(cell))

    def add(self, end: CellResult | Failure) -> list[Cell]:
        """Take up how a cell ended; a result goes into the table at once. Returns the cells that are to be run again for it."""
        if isinstance(end, Failure):
            self.failures[end.hash] = end
            return []
        self.failures.pop(end.hash, None)
        self.results[end.hash] = end
        outdated = self.forget_outdated()
        self._estimates_s.clear()
        self.write_table()
        return outdated

    def forget_outdated(self) -> list[Cell]:
        """Drop what started from another policy than its base has now: trained anew elsewhere, a base is not the same to the bit.

        Returns the cells that have no result any more.
        """
        outdated = [cell for cell in self.cells if self._is_outdated(cell)]
        for cell in outdated:
            del self.results[cell.hash]
            shutil.rmtree(self.folder(cell), ignore_errors=True)
        return outdated

    def _is_outdated(self, cell: Cell) -> bool:
        if cell.base is None or cell.hash not in self.results or cell.base.hash not in self.results:
            return False
        return self.results[cell.hash].base_bundle != self.results[cell.base.hash].bundle_hash

    def write_table(self) -> None:
        write_table(self.table, [*self.ordered_results, *self.strangers])

    def forget_failures(self, only: str = "*") -> None:
        """Make failed cells pending again, of those that are chosen, and the failed ones that these adapt."""
        chosen = [cell for cell in self.cells if is_chosen(cell, only)]
        needed = {cell.base.hash for cell in chosen if cell.base is not None and cell.hash not in self.results}
        again = needed | {cell.hash for cell in chosen}
        for cell in self.cells:
            if cell.hash in self.failures and cell.hash in again:
                forget_failure(self.folder(cell))
                del self.failures[cell.hash]

    def estimate_s(self, cells: Iterable[Cell]) -> list[float | None]:
        """Seconds for each cell, by those that are measured; None while none is."""
        asked = list(cells)
        measured = list(self.results.values())
        for cell in asked:
            if cell.hash not in self._estimates_s:
                self._estimates_s[cell.hash] = estimate_s(cell, measured)
        return [self._estimates_s[cell.hash] for cell in asked]


def make_plan(config: StudyConfig, root: Path) -> Plan:
    """Raises ConfigurationError, TableError."""
    plan = Plan(config, root, expand(config))
    by_hash = {cell.hash: cell for cell in plan.cells}
    for result in read_table(plan.table):
        if result.hash in by_hash:
            plan.results[result.hash] = _relabelled(result, by_hash[result.hash])
        else:
            plan.strangers.append(result)
    for cell in plan.cells:
        end = read_cell(plan.folder(cell))
        if isinstance(end, CellResult) and end.hash == cell.hash:
            plan.results[cell.hash] = _relabelled(end, cell)
        elif isinstance(end, Failure) and end.hash == cell.hash and cell.hash not in plan.results:
            plan.failures[cell.hash] = end
    plan.forget_outdated()
    return plan


def is_chosen(cell: Cell, only: str) -> bool:
    return fnmatch(cell.id, f"*{only}*")


def first_that_fits(cells: Sequence[Cell], plan: Plan, left_s: float | None) -> Cell | None:
    """The first cell that is ready and takes no longer than ``left_s`` (None: any); one that cannot be estimated is given a try."""
    ready = [cell for cell in cells if plan.is_ready(cell)]
    if left_s is None:
        return ready[0] if ready else None
    if left_s <= 0:
        return None
    for cell, needed_s in zip(ready, plan.estimate_s(ready), strict=True):
        if needed_s is None or needed_s <= left_s:
            return cell
    return None


def _relabelled(result: CellResult, cell: Cell) -> CellResult:
    """The result under the names that the configuration uses now; they are not in the hash."""
    return dataclasses.replace(result, cell=cell.id, regime=cell.regime, method=cell.method, backbone=cell.backbone)
