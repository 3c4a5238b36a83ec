"""One run of a sweep: the command that does it, whether it is done, and how far it is."""

import csv
import hashlib
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policy_server.runtime.whole_file import write_whole
from policy_server.training.loss_log import LOSS_FILE

DONE_FILE = "done.json"
LOG_FILE = "log.txt"
_LAST_ROWS = 20


@dataclass(frozen=True)
class Job:
    """A command that trains in ``folder`` and goes on there when it is started again.

    ``steps``: of its training. ``size``: parameters, to guess from other runs how long it takes. ``fingerprint``: of all its
    settings; a run that was done with others is not done.
    """

    name: str
    folder: Path
    command: tuple[str, ...]
    steps: int
    size: int
    fingerprint: str

    @property
    def log(self) -> Path:
        """What the command says."""
        return self.folder / LOG_FILE

    @property
    def is_done(self) -> bool:
        file = self.folder / DONE_FILE
        return file.exists() and json.loads(file.read_text(encoding="utf-8"))["fingerprint"] == self.fingerprint

    @property
    def steps_done(self) -> int:
        """As the loss curve says, to ten steps."""
        if self.is_done:
            return self.steps
        rows = _loss_rows(self.folder)
        return min(self.steps, int(rows[-1]["step"])) if rows else 0

    @property
    def step_s(self) -> float | None:
        """Seconds per step lately; None before the first ten."""
        rows = _loss_rows(self.folder)
        return statistics.median(float(row["seconds"]) for row in rows[-_LAST_ROWS:]) if rows else None


def fingerprint(settings: Any) -> str:
    """Ten letters that change with the settings, plain values as JSON can hold them."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]


def mark_done(job: Job, elapsed_s: float) -> None:
    """Note that the command ended well; ``elapsed_s`` is of this last start of it."""
    facts = {"fingerprint": job.fingerprint, "elapsed_s": round(elapsed_s, 1)}
    write_whole(job.folder / DONE_FILE, json.dumps(facts) + "\n")


def _loss_rows(folder: Path) -> list[dict[str, str]]:
    file = folder / LOSS_FILE
    if not file.exists():
        return []
    with file.open(newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["seconds"]]  # a line may be half written
