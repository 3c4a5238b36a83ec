"""The loss curve as CSV and for TensorBoard; a resumed run goes on with the same lines that an unbroken one would write."""

import csv
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from policy_server.runtime.whole_file import whole_file

LOSS_FILE = "loss.csv"
TENSORBOARD_FOLDER = "tensorboard"
LOG_EVERY = 10


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step was.

    ``loss`` is the mean over its batches and processes; ``gradient_norm`` is before clipping; ``context_length`` is the number of
    observations that were shown; ``seconds`` of wall time, ``waited_fraction`` of which were spent waiting for data.
    """

    loss: float
    gradient_norm: float
    learning_rate: float
    context_length: int
    seconds: float
    waited_fraction: float


_COLUMNS = tuple(field.name for field in fields(StepResult))
_DIGITS = {"loss": 6, "gradient_norm": 6, "learning_rate": 9, "context_length": 1, "seconds": 5, "waited_fraction": 4}


class LossLog:
    """``loss.csv`` and TensorBoard, one line per ten steps: the mean of each column of ``StepResult``.

    Args:
        step: lines beyond it are dropped: a resumed run writes them anew.
        pending: results since the last line, from the checkpoint.
    """

    def __init__(self, folder: Path, step: int, pending: list[list[float]]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.pending = list(pending)
        file = folder / LOSS_FILE
        kept = drop_rows_after(file, step, ("step", *_COLUMNS))
        self._stream = file.open("a", newline="")
        self._writer = csv.writer(self._stream)
        self._board = SummaryWriter(str(folder / TENSORBOARD_FOLDER), purge_step=step + 1 if kept else None)

    def add(self, step: int, result: StepResult) -> None:
        self.pending.append([getattr(result, name) for name in _COLUMNS])
        if step % LOG_EVERY:
            return
        means = dict(zip(_COLUMNS, np.mean(self.pending, axis=0).tolist(), strict=True))
        self._writer.writerow([step, *(f"{value:.{_DIGITS[name]}f}" for name, value in means.items())])
        self._stream.flush()
        for name, value in means.items():
            self._board.add_scalar(f"training/{name}", value, step)
        self.pending.clear()

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """One more curve for TensorBoard."""
        self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._stream.close()
        self._board.close()


def drop_rows_after(file: Path, step: int, header: tuple[str, ...]) -> int:
    """Rewrite a CSV whose first column is the step, whole or not at all, without rows after ``step``; returns how many are left.

    A line that was cut off by a kill is dropped too.
    """
    kept = []
    if file.exists():
        with file.open(newline="") as stream:
            rows = [row for row in csv.reader(stream) if row and row[0].isdigit() and len(row) == len(header)]
        kept = [row for row in rows if int(row[0]) <= step]
    with whole_file(file) as temporary, temporary.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *kept])
    return len(kept)
