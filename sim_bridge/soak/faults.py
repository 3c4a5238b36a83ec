"""Which fault strikes when. The plan follows from the seed alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class FaultKind(StrEnum):
    """What is done to the graph or the robot."""

    INFERENCE_KILLED = "inference killed"  # and started again
    INFERENCE_STALLED = "inference stalled"
    HISTORY_STALLED = "history stalled"
    CAMERA_FROZEN = "camera frozen"
    CHUNKS_LOST = "chunks lost"
    CHUNKS_LATE = "chunks late"
    REFLEX = "reflex"  # the robot stops by itself, on our word: a control that a reflex is seen and mended


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        at_s: begins this long after the start of the run.
        kind: see ``FaultKind``.
        duration_s: lasts so long.
        share: of the chunks that are lost, where chunks are lost.
    """

    at_s: float
    kind: FaultKind
    duration_s: float
    share: float = 0.0


_DURATION_S = {
    FaultKind.INFERENCE_KILLED: 1.0,
    FaultKind.INFERENCE_STALLED: 0.3,
    FaultKind.HISTORY_STALLED: 0.3,
    FaultKind.CAMERA_FROZEN: 0.8,  # shorter than the gap that the memory bridges
    FaultKind.CHUNKS_LOST: 4.0,
    FaultKind.CHUNKS_LATE: 4.0,
    FaultKind.REFLEX: 1.0,
}


def plan(seed: int, every_s: float) -> Iterator[Fault]:
    """Faults without end, ``every_s`` apart but for some chance; each kind once before any comes again."""
    random = np.random.Generator(np.random.PCG64(seed))
    at_s = every_s
    while True:
        for kind in random.permutation(list(FaultKind)):
            kind = FaultKind(str(kind))
            yield Fault(at_s, kind, _DURATION_S[kind], share=float(random.uniform(0.3, 0.9)))
            at_s += every_s * float(random.uniform(0.8, 1.2))
