"""What a soak has seen so far, in a file that the next call of the same command goes on from."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policy_server.runtime.errors import PolicyError
from policy_server.runtime.whole_file import write_whole


class SoakRecordError(PolicyError):
    """The file belongs to another soak, or is no record of one."""


@dataclass(frozen=True)
class SoakConditions:
    """What a soak is run with. Counts of parts that were run with different ones do not add up.

    Attributes:
        task: name.
        bundle_hash: of the policy's bundle.
        arm_file_sha256: of the guard's settings.
        enforce_communication: whether late packets are a reflex.
        every_s: time between two faults.
    """

    task: str
    bundle_hash: str
    arm_file_sha256: str
    enforce_communication: bool
    every_s: float


@dataclass
class SoakRecord:
    """Counts and times of all parts of a soak together.

    Attributes:
        minutes: how long it is to last in all.
        seed: of the faults and of the episodes.
        conditions: what it is run with.
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
    conditions: SoakConditions
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
        write_whole(file, json.dumps(self.summary(), indent=1) + "\n")


def load_or_begin(file: Path, minutes: float, seed: int, conditions: SoakConditions) -> SoakRecord:
    """The record in ``file`` when it is of this soak, else a new one.

    Raises:
        SoakRecordError: the file is of a soak with other options, of one from before they were kept, or no record at all.
    """
    begun = SoakRecord(minutes, seed, conditions)
    if not file.exists():
        return begun
    record = _read(file)
    was, is_now = _options(record), _options(begun)
    other = [f"{name} was {was[name]} and is now {is_now[name]}" for name in was if was[name] != is_now[name]]
    if other:
        raise SoakRecordError(
            f"{file} is of a soak with other options ({'; '.join(other)}): give the same options or choose another file"
        )
    return record


def _read(file: Path) -> SoakRecord:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        values.pop("summary")
        if "conditions" not in values:
            raise SoakRecordError(
                f"{file} is an old record that does not say with which task, bundle, arm file and options it was run: it cannot be "
                "gone on with, choose another file"
            )
        conditions = SoakConditions(**values.pop("conditions"))
        return SoakRecord(**values, conditions=conditions)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SoakRecordError(f"{file} is no record of a soak: choose another file") from None


def _options(record: SoakRecord) -> dict[str, object]:
    """What must be the same in all parts of a soak, by name."""
    values = {"minutes": record.minutes, "seed": record.seed, **dataclasses.asdict(record.conditions)}
    return {name.replace("_", " "): value for name, value in values.items()}
