"""Runs a group of cells block by block, with a log, checkpoints, and an early end for cells that have arrived."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policy_server.lora.lab.activations import Array
from policy_server.lora.lab.cells import Cell, Group
from policy_server.lora.lab.checkpoint import load, save
from policy_server.lora.lab.configuration import LabConfig
from policy_server.lora.lab.dynamics import BatchSettings, Doubles, Dynamics, Run
from policy_server.lora.lab.fine_tuning import fine_tuning
from policy_server.lora.lab.scratch import CorrelationalNeuron, ScratchNetwork

CHECKPOINT_FILE, RESULT_FILE = "checkpoint.npz", "result.npz"
NEVER = -1
_LOG_GROWTH = 1.04
_STAY = 0.2


@dataclass(frozen=True)
class GroupResult:
    """What the runs of a group did, R runs (cells in order, u₀ before -u₀) of I instances, logged P times.

    ``steps`` (P,). ``overlap`` (P, R, I) and ``loss`` (P, R, I): the overlap then, and the mean squared error since the log before;
    NaN once the cell has ended. ``reached`` (R, I): first step at which overlap² was at the threshold, by blocks, or NEVER.
    ``ended`` (R,): steps done. ``final`` (R, I): overlap at the end.
    """

    group: Group
    steps: NDArray[np.int64]
    overlap: NDArray[np.float32]
    loss: NDArray[np.float32]
    reached: NDArray[np.int64]
    ended: NDArray[np.int64]
    final: Doubles


def runs_of(group: Group) -> list[Run]:
    return [Run(cell, side) for cell in group.cells for side in cell.sides]


def log_blocks(blocks: int) -> list[int]:
    """Numbers of done blocks at which is logged: every one at first, then every 4 %, and the last."""
    points, point = [], 0
    while point < blocks:
        point = max(point + 1, int(point * _LOG_GROWTH))
        points.append(min(point, blocks))
    return points


def make_dynamics(runs: list[Run], config: LabConfig) -> Dynamics:
    batch = BatchSettings(config.seed, config.instances, config.precision)
    student = runs[0].cell.settings.student
    if student == "scratch":
        return ScratchNetwork(runs, batch)
    return CorrelationalNeuron(runs, batch) if student == "correlational" else fine_tuning(runs, batch)


class GroupRun:
    """A group on its way. ``advance`` one block at a time until ``is_done``; ``save`` at any time, and a new one goes on there."""

    def __init__(self, group: Group, config: LabConfig, folder: Path) -> None:
        self._group, self._config, self._folder = group, config, folder
        self._runs = runs_of(group)
        blocks = -(-group.steps // config.block_steps)
        self._points = log_blocks(blocks)
        shape = (len(self._runs), config.instances)
        self._block = 0
        self._reached = np.full(shape, NEVER, np.int64)
        self._ended = np.zeros(shape[0], np.int64)
        self._final = np.zeros(shape)
        self._sum = np.zeros(shape)
        self._since = 0
        self._overlap = np.full((len(self._points), *shape), np.nan, np.float32)
        self._loss = np.full((len(self._points), *shape), np.nan, np.float32)
        found = load(folder / CHECKPOINT_FILE)
        if found is None:
            self._begin(np.ones(shape[0], bool), None)
        else:
            self._resume(*found)

    @property
    def is_done(self) -> bool:
        return not self._active.any()

    @property
    def steps_done(self) -> int:
        """Of its longest cell; all of them once it is done."""
        return self._group.steps if self.is_done else self._block * self._config.block_steps

    def advance(self) -> None:
        steps = self._config.block_steps
        active = np.flatnonzero(self._active)
        with np.errstate(over="ignore", invalid="ignore"):  # too long a step diverges, which is a result
            self._sum[active] += self._dynamics.advance(self._block, steps)
            overlap = self._dynamics.overlap()
        self._block += 1
        self._since += steps
        self._final[active] = overlap
        arrived = (overlap**2 >= self._config.threshold) & (self._reached[active] == NEVER)
        self._reached[active] = np.where(arrived, self._block * steps, self._reached[active])
        self._ended[active] = self._block * steps
        if self._block in self._points:
            self._log(active, overlap)
        self._end_cells()

    def _log(self, active: NDArray[np.int64], overlap: Doubles) -> None:
        point = self._points.index(self._block)
        self._overlap[point, active] = overlap
        with np.errstate(over="ignore"):
            self._loss[point, active] = self._sum[active] / self._since
        self._sum[:], self._since = 0.0, 0

    def _end_cells(self) -> None:
        ended = np.array([self._has_ended(run.cell) for run in self._runs])
        if (ended & self._active).any():
            kept = ~ended[self._active]
            self._begin(self._active & ~ended, {name: each[kept] for name, each in self._dynamics.state().items()})

    def _has_ended(self, cell: Cell) -> bool:
        """At its last step; or, once every run has arrived, after a fifth of those steps more."""
        own = [index for index, run in enumerate(self._runs) if run.cell is cell]
        done = int(self._ended[own].max())
        reached = self._reached[own]
        arrived = cell.settings.ends_early and bool((reached != NEVER).all())
        return done >= cell.steps or (arrived and done >= (1 + _STAY) * reached.max())

    def _begin(self, active: NDArray[np.bool_], state: Mapping[str, Array] | None) -> None:
        self._active = active
        if active.any():
            self._dynamics = make_dynamics(
                [run for run, on in zip(self._runs, active, strict=True) if on], self._config
            )
            if state is not None:
                self._dynamics.restore(state)

    def save(self) -> None:
        arrays = {
            name: getattr(self, f"_{name}")
            for name in ("reached", "ended", "final", "sum", "overlap", "loss", "active")
        }
        state = {f"state.{name}": each for name, each in self._dynamics.state().items()}
        facts = {"fingerprint": self._group.fingerprint, "block": self._block, "since": self._since}
        save(self._folder / CHECKPOINT_FILE, {**arrays, **state}, facts)

    def _resume(self, arrays: dict[str, Array], facts: dict[str, int]) -> None:
        self._block, self._since = facts["block"], facts["since"]
        for name in ("reached", "ended", "final", "sum", "overlap", "loss"):
            setattr(self, f"_{name}", arrays[name])
        state = {name.removeprefix("state."): each for name, each in arrays.items() if name.startswith("state.")}
        self._begin(arrays["active"], state)

    def finish(self) -> None:
        """Write the result, which replaces the checkpoint."""
        steps = np.array(self._points, np.int64) * self._config.block_steps
        logged = steps <= self._ended.max()
        arrays = {
            "steps": steps[logged],
            "overlap": self._overlap[logged],
            "loss": self._loss[logged],
            **{name: getattr(self, f"_{name}") for name in ("reached", "ended", "final")},
        }
        save(self._folder / RESULT_FILE, arrays, {"fingerprint": self._group.fingerprint})
        (self._folder / CHECKPOINT_FILE).unlink(missing_ok=True)


def read_result(group: Group, folder: Path) -> GroupResult | None:
    """None when the group is not done."""
    found = load(folder / RESULT_FILE)
    return None if found is None else GroupResult(group, **found[0])


def run_group(
    group: Group, config: LabConfig, folder: Path, show: Callable[[int], None], stopped: Callable[[], bool]
) -> bool:
    """Run ``group`` to its end, or until ``stopped``; False when it was stopped, and then the same call goes on."""
    if (folder / RESULT_FILE).exists():
        show(group.steps)
        return True
    run = GroupRun(group, config, folder)
    saved_s = time.monotonic()
    while not run.is_done:
        run.advance()
        show(run.steps_done)
        if run.is_done:
            break
        if stopped():
            run.save()
            return False
        if time.monotonic() - saved_s >= config.checkpoint_every_s:
            run.save()
            saved_s = time.monotonic()
    run.finish()
    return True
