"""Rollouts that choose the checkpoint: the averaged weights as a bundle, judged by a command of the user's in a process of its own."""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from policy_server.runtime.errors import PolicyError
from policy_server.runtime.whole_file import whole_file
from policy_server.training.checkpoint import BEST_FILE, CHECKPOINT_FILE
from policy_server.training.loss_log import drop_rows_after

VALIDATION_FILE = "validation.csv"
VALIDATION_FOLDER = "validation"
# A process too: the exporter would otherwise keep its memory for the rest of the run.
EXPORT = ("{python}", "-m", "policy_server.export", "{run}", "--checkpoint", "last", "--output", "{bundle}")
_HEADER = ("step", "successes", "episodes", "success_rate")
_POLL_S = 0.1
# A rollout process is no part of the group of processes that train together.
_OF_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


class ValidationError(PolicyError):
    """The export or the rollouts of a validation failed."""


@dataclass(frozen=True)
class Rollouts:
    """How the averaged weights of ``step`` did."""

    step: int
    successes: int
    episodes: int

    @property
    def success_rate(self) -> float:
        return self.successes / self.episodes


class Validation:
    """The record of a run's rollouts, and its best checkpoint.

    Args:
        output: the run's folder; ``validation.csv`` and ``best.pt`` are kept in it.
        command: with the placeholders ``{python}``, ``{bundle}``, ``{task}`` and ``{json}``.
        step: rows of later steps are dropped: a resumed run goes through them again.
    """

    def __init__(self, output: Path, command: Sequence[str], task: str, step: int) -> None:
        self._output, self._command, self._task = output, command, task
        output.mkdir(parents=True, exist_ok=True)
        drop_rows_after(output / VALIDATION_FILE, step, _HEADER)
        self.results = read_rollouts(output)

    @property
    def last_step(self) -> int:
        """The step that was validated last, or -1."""
        return self.results[-1].step if self.results else -1

    def run(self, step: int, should_stop: Callable[[], bool]) -> Rollouts | None:
        """Validate ``checkpoint.pt``, which must be of ``step``, and keep it as ``best.pt`` if none was better before.

        Returns:
            None when asked to stop meanwhile; nothing is recorded then, and a resumed run validates this step first.

        Raises:
            ValidationError: the export or the command failed, or the command wrote no result.
        """
        bundle, result = self._output / VALIDATION_FOLDER / "bundle", self._output / VALIDATION_FOLDER / "result.json"
        result.parent.mkdir(parents=True, exist_ok=True)
        result.unlink(missing_ok=True)
        values = {
            "python": sys.executable,
            "run": str(self._output),
            "bundle": str(bundle),
            "task": self._task,
            "json": str(result),
        }
        for command in (EXPORT, self._command):
            filled = fill(command, **values)
            if not run_process(filled, step, should_stop):
                return None
        rollouts = read_result(result, step)
        if not self.results or rollouts.success_rate >= max(before.success_rate for before in self.results):
            with whole_file(self._output / BEST_FILE) as temporary:
                shutil.copyfile(self._output / CHECKPOINT_FILE, temporary)
        self._record(rollouts)
        return rollouts

    def _record(self, rollouts: Rollouts) -> None:
        self.results.append(rollouts)
        with (self._output / VALIDATION_FILE).open("a", newline="") as stream:
            row = (rollouts.step, rollouts.successes, rollouts.episodes, f"{rollouts.success_rate:.4f}")
            csv.writer(stream).writerow(row)


def read_rollouts(output: Path) -> list[Rollouts]:
    """The record in a run's folder, oldest first."""
    file = output / VALIDATION_FILE
    if not file.exists():
        return []
    with file.open(newline="") as stream:
        return [
            Rollouts(int(row["step"]), int(row["successes"]), int(row["episodes"])) for row in csv.DictReader(stream)
        ]


def fill(command: Sequence[str], **values: str) -> list[str]:
    """``command`` with its ``{placeholders}`` replaced; other braces stay."""
    filled = []
    for part in command:
        for name, value in values.items():
            part = part.replace(f"{{{name}}}", value)
        filled.append(part)
    return filled


def run_process(command: Sequence[str], step: int, should_stop: Callable[[], bool]) -> bool:
    """Run a command to its end, or end it when asked to stop; returns whether it ended by itself.

    Raises:
        ValidationError: it cannot be started, or ended with another status than 0; names its last line of output.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OF_TORCHRUN}
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
        except OSError as error:
            raise ValidationError(f"validation at step {step}: cannot start '{command[0]}' ({error})") from None
        try:
            while process.poll() is None:
                if should_stop():
                    return False
                _wait(process)
        finally:
            _end(process)
        if process.returncode == 0:
            return True
        if should_stop():  # Ctrl-C reaches both processes
            return False
        output.seek(0)
        lines = [line.strip() for line in output if line.strip()] or ["no output"]
        shown = " ".join(" ".join(command).split())
        raise ValidationError(
            f"validation at step {step}: '{shown}' ended with status {process.returncode}: {lines[-1]}; the checkpoint is kept"
        )


def read_result(file: Path, step: int) -> Rollouts:
    """What the command wrote. Raises ValidationError when it wrote no ``successes`` and ``episodes``."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        rollouts = Rollouts(step, int(values["successes"]), int(values["episodes"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValidationError(
            f"validation at step {step}: the command wrote no successes and episodes to {{json}} ({error!r})"
        ) from None
    if not 0 <= rollouts.successes <= rollouts.episodes or rollouts.episodes == 0:
        raise ValidationError(
            f"validation at step {step}: the command reports {rollouts.successes} successes in {rollouts.episodes} episodes"
        )
    return rollouts


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_POLL_S)
    except subprocess.TimeoutExpired:
        return


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, then make it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
