"""What a soak has seen so far, in a file that the next call of the same command goes on from."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policy_server.runtime.errors import PolicyError


class SoakRecordError(PolicyError):
    """The file belongs to another soak, or is no record of one."""


@dataclass
class SoakRecord:
    """Counts and times of all parts of a soak together.

    Attributes:
        minutes: how long it is to last in all.
        seed: of the faults and of the episodes.
        done_s: motion so far.
        faults: per kind, how many struck, after how many the arm moved again, and the longest rest after silence in s.
        reflexes_by_us: reasons of motions that the robot aborted without being asked to.
        reflexes_injected: motions that it aborted on our word.
        rest_s: from the last chunk to rest, for every silence that struck while the arm moved.
        never_rested: silences in which the arm did not come to rest.
        chunks_carried, chunks_lost: through the operator's hands.
        paces: the robot's time against real time, one per second.
    """

    minutes: float
    seed: int
    done_s: float = 0.0
    faults: dict[str, dict[str, int]] = field(default_factory=dict)
    reflexes_by_us: list[str] = field(default_factory=list)
    reflexes_injected: int = 0
    rest_s: list[float] = field(default_factory=list)
    never_rested: int = 0
    chunks_carried: int = 0
    chunks_lost: int = 0
    paces: list[float] = field(default_factory=list)

    @property
    def left_s(self) -> float:
        return max(60.0 * self.minutes - self.done_s, 0.0)

    def count(self, kind: str, what: str) -> None:
        """``what``: "struck" or "moved again"."""
        counts = self.faults.setdefault(kind, {"struck": 0, "moved again": 0})
        counts[what] += 1

    def summary(self) -> dict[str, Any]:
        """The record with what follows from it."""
        paces = self.paces or [0.0]
        return {
            **dataclasses.asdict(self),
            "summary": {
                "complete": self.left_s == 0.0,
                "reflexes_by_us": len(self.reflexes_by_us),
                "faults": sum(counts["struck"] for counts in self.faults.values()),
                "moved_again": sum(counts["moved again"] for counts in self.faults.values()),
                "longest_rest_s": max(self.rest_s, default=None),
                "mean_pace": round(sum(paces) / len(paces), 3),
            },
        }

    def save(self, file: Path) -> None:
        """Whole or not at all."""
        partial = file.with_suffix(".tmp")
        partial.write_text(json.dumps(self.summary(), indent=1) + "\n", encoding="utf-8")
        partial.replace(file)


def load_or_begin(file: Path, minutes: float, seed: int) -> SoakRecord:
    """The record in ``file`` when it is of this soak, else a new one. Raises SoakRecordError for another soak's file."""
    if not file.exists():
        return SoakRecord(minutes, seed)
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        values.pop("summary")
        record = SoakRecord(**values)
    except (ValueError, KeyError, TypeError):
        raise SoakRecordError(f"{file} is no record of a soak: choose another file") from None
    if (record.minutes, record.seed) != (minutes, seed):
        raise SoakRecordError(
            f"{file} is of a soak of {record.minutes} minutes with seed {record.seed}: choose another file or give the same options"
        )
    return record
