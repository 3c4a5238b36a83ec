"""What a batch of runs does in a block of steps; every kind of student has the same four calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from policy_server.lora.lab.activations import Array
from policy_server.lora.lab.cells import Cell
from policy_server.lora.lab.draws import Precision

Doubles = NDArray[np.float64]
State = dict[str, Array]


@dataclass(frozen=True)
class Run:
    """All instances of a cell, from u₀ (``side`` 1) or from -u₀ (-1)."""

    cell: Cell
    side: int


@dataclass(frozen=True)
class BatchSettings:
    """What every run of a batch shares beside the settings of its group."""

    seed: int
    instances: int
    precision: Precision


class Dynamics(Protocol):
    """R runs of I instances each, advanced together."""

    def advance(self, block: int, steps: int) -> Doubles:
        """Block ``block`` of ``steps`` online gradient steps; returns the sum of the squared errors before each (R, I)."""
        ...

    def overlap(self) -> Doubles:
        """How much of the teacher's direction the students have (R, I), between -1 and 1."""
        ...

    def state(self) -> State:
        """Arrays with R in front, all that goes on from here needs."""
        ...

    def restore(self, state: Mapping[str, Array]) -> None: ...


def per_run(runs: Sequence[Run], values: Sequence[float], width: int = 1) -> Doubles:
    """``values``, one per run, as (R, 1, …) with ``width`` axes after the first."""
    return np.asarray(values, np.float64).reshape(len(runs), *(1,) * width)


def step_sizes(runs: Sequence[Run]) -> Doubles:
    """η (R, 1)."""
    return per_run(runs, [run.cell.step_size for run in runs])
