"""One cell from its configuration to its result: train, export, evaluate, each a command in a process of its own.

A finished command is noted in ``stages.json``, so a cell that was stopped goes on with the one it was in, and the training with
its last checkpoint.
"""

import csv
import datetime
import json
import math
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.child import Child, last_error, progress
from policy_server.runtime.command import EXIT_INTERRUPTED
from policy_server.runtime.configuration import build
from policy_server.runtime.errors import PolicyError
from policy_server.runtime.whole_file import write_whole
from sim_bridge.study.cells import Cell
from sim_bridge.study.provenance import machine, versions
from sim_bridge.study.result import CellResult, outcome_strings

CELL_FILE = "cell.json"
STAGES_FILE = "stages.json"
FACTS_FILE = "finetune.json"
TRAIN, EXPORT, EVALUATE, EVALUATE_AS_BUILT = "train", "export", "evaluate", "evaluate_as_built"
EVALUATIONS = {EVALUATE: "evaluation.json", EVALUATE_AS_BUILT: "evaluation_as_built.json"}
_INTERRUPTED = (EXIT_INTERRUPTED, -signal.SIGINT, -signal.SIGTERM)
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """A cell to run in ``folder``; commands run in ``root``, from where the dataset's path counts. ``base``: folder of its base."""

    cell: Cell
    folder: Path
    root: Path
    keep_bundles: bool
    base: Path | None = None

    @property
    def bundle(self) -> Path:
        """The bundle that is evaluated."""
        return (self.folder if self.cell.is_trained or self.base is None else self.base) / "bundle"


@dataclass(frozen=True)
class Failure:
    """Why a cell has no result: the command that failed and the last thing it said."""

    cell: str
    hash: str
    stage: str
    error: str


def stages_of(cell: Cell) -> tuple[str, ...]:
    """The commands of a cell, in their order. What an adapted policy has forgotten is seen on the task as it is built."""
    if not cell.is_trained:
        return (EVALUATE,)
    own = (TRAIN, EXPORT, EVALUATE)
    return own if cell.base is None or not cell.shift.name else (*own, EVALUATE_AS_BUILT)


class CellProcess:
    """A cell at work. Nothing happens but in ``poll``: call it a few times a second, always in the same thread."""

    def __init__(self, job: Job, environment: Mapping[str, str] | None = None) -> None:
        self._job = job
        one_thread = dict.fromkeys(_ONE_THREAD, "1")
        self._environment = {**os.environ, **one_thread, "TQDM_MININTERVAL": "1", **(environment or {})}
        self._child: Child | None = None
        self._seconds = _read_json(job.folder / STAGES_FILE) or {}
        job.folder.mkdir(parents=True, exist_ok=True)
        _write_training_file(job)

    @property
    def cell(self) -> Cell:
        return self._job.cell

    @property
    def stage(self) -> str | None:
        """The command that runs now or comes next; None when all have."""
        return next((stage for stage in stages_of(self.cell) if stage not in self._seconds), None)

    def poll(self) -> CellResult | Failure | None:
        """Go on as far as possible without waiting; what the cell came to, or None while it runs."""
        stage = self.stage
        if stage is None:
            return self._finish()
        if self._child is None:
            self._child = Child(_command(self._job, stage), self._log(stage), self._job.root, self._environment)
            return None
        status = self._child.status
        if status is None:
            return None
        child, self._child = self._child, None
        if status in _INTERRUPTED:
            return None  # someone asked the command to end, not the cell: it is begun again, where it was
        if status != 0:
            return record_failure(
                self._job, stage, f"{last_error(self._log(stage))} (status {status}; see {stage}.log)"
            )
        self._seconds[stage] = round(child.elapsed_s, 2)
        _write_json(self._job.folder / STAGES_FILE, self._seconds)
        return None

    def _log(self, stage: str) -> Path:
        return self._job.folder / f"{stage}.log"

    def interrupt(self) -> None:
        """Ask the command at work to end; ``end`` waits for it."""
        if self._child is not None:
            self._child.interrupt()

    def end(self, grace_s: float) -> None:
        if self._child is not None:
            self._child.end(grace_s)
            self._child = None

    def _finish(self) -> CellResult | Failure:
        try:
            result, details = _gather(self._job, self._seconds)
        except (OSError, ValueError, KeyError, PolicyError) as error:
            return record_failure(self._job, EVALUATE, f"what the commands wrote cannot be read ({error})")
        _write_json(self._job.folder / CELL_FILE, {"status": "done", "result": asdict(result), **details})
        clean(self._job)
        return result


def record_failure(job: Job, stage: str, error: str) -> Failure:
    """Note in the cell's folder why it has no result."""
    failure = Failure(job.cell.id, job.cell.hash, stage, error)
    job.folder.mkdir(parents=True, exist_ok=True)
    _write_json(job.folder / CELL_FILE, {"status": "failed", "failure": asdict(failure)})
    return failure


def read_cell(folder: Path) -> CellResult | Failure | None:
    """What a cell's folder says it came to; None when it has not come to an end."""
    content = _read_json(folder / CELL_FILE)
    if content is None:
        return None
    if content["status"] == "failed":
        return build(Failure, content["failure"], str(folder / CELL_FILE))
    return build(CellResult, content["result"], str(folder / CELL_FILE))


def stage_of(cell: Cell, folder: Path) -> tuple[str, float | None]:
    """The command that a cell is in, and how far that has come, 0 to 1, if it says so."""
    done = _read_json(folder / STAGES_FILE) or {}
    stage = next((stage for stage in stages_of(cell) if stage not in done), EVALUATE)
    return stage, progress(folder / f"{stage}.log")


def forget_failure(folder: Path) -> None:
    """Let a failed cell be run again: the command that failed from its start, those before it are not repeated."""
    failure = read_cell(folder)
    if isinstance(failure, Failure) and failure.stage == TRAIN:
        shutil.rmtree(folder / TRAIN, ignore_errors=True)
    (folder / CELL_FILE).unlink(missing_ok=True)


def has_run(folder: Path) -> bool:
    """Whether a cell's policy is still there for others to start from: it has come to its end and was kept."""
    return (
        (folder / CELL_FILE).exists() and (folder / TRAIN / "checkpoint.pt").exists() and (folder / "bundle").is_dir()
    )


def begin_anew(folder: Path) -> None:
    """Let all commands of a cell be run again; what its training has is taken up where it is."""
    for name in (CELL_FILE, STAGES_FILE):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "bundle", ignore_errors=True)


def clean(job: Job) -> None:
    """Delete what a finished cell no longer needs; the loss curve stays."""
    if job.keep_bundles:
        return
    loss = job.folder / TRAIN / "loss.csv"
    if loss.exists():
        os.replace(loss, job.folder / "loss.csv")
    for folder in (TRAIN, "bundle"):
        shutil.rmtree(job.folder / folder, ignore_errors=True)


def _command(job: Job, stage: str) -> list[str]:
    folder, cell = job.folder, job.cell
    if stage == TRAIN:
        trains = "policy_server.train_stages" if cell.stages else "policy_server.train"
        module = "policy_server.finetune" if cell.finetune else trains
        return [sys.executable, "-m", module, str(folder / "training.yaml")]
    if stage == EXPORT:
        return [sys.executable, "-m", "policy_server.export", str(folder / TRAIN), "--output", str(job.bundle)]
    asked = cell.evaluation
    options = {
        "--bundle": job.bundle,
        "--task": cell.task,
        "--shift": cell.shift.name or None if stage == EVALUATE else None,
        "--episodes": asked.episodes,
        "--seed": asked.seed,
        "--workers": 1,
        "--json": folder / EVALUATIONS[stage],
        "--replan-every-ticks": asked.replan_every_ticks,
        "--candidates": asked.candidates,
    }
    given = [str(part) for name, value in options.items() if value is not None for part in (name, value)]
    return [sys.executable, "-m", "sim_bridge.evaluate", *given]


def _write_training_file(job: Job) -> None:
    if not job.cell.is_trained:
        return
    values: dict[str, Any] = {"name": job.cell.id, "output": str(job.folder / TRAIN), **job.cell.training}
    if job.cell.finetune:
        assert job.base is not None  # a cell that is fine-tuned has one
        values = {"base": str(job.base / TRAIN), "output": str(job.folder / TRAIN), **job.cell.finetune}
    elif job.cell.stages:
        values = {**job.cell.stages, "training": values}
    write_whole(job.folder / "training.yaml", yaml.safe_dump(values, sort_keys=False))


def _gather(job: Job, seconds: Mapping[str, float]) -> tuple[CellResult, dict[str, Any]]:
    """The row, and what else is worth keeping: the whole configuration as trained, and every episode."""
    cell, folder = job.cell, job.folder
    evaluation = _evaluation(folder, EVALUATE)
    as_built = _evaluation(folder, EVALUATE_AS_BUILT) if EVALUATE_AS_BUILT in stages_of(cell) else {"results": []}
    bundle = load_bundle(job.bundle)
    trained = bundle.manifest.training
    training = _Training(0, math.nan, 0.0, 0.0) if not cell.is_trained else _training(job, seconds, trained["steps"])
    outcomes, completed = outcome_strings(cell.task, evaluation["results"])
    result = CellResult(
        cell=cell.id,
        hash=cell.hash,
        task=cell.task,
        context_length=cell.context_length,
        stride_ticks=cell.training["context"]["stride_ticks"],
        demonstrations=cell.demonstrations,
        regime=cell.regime,
        method=cell.method,
        backbone=cell.backbone,
        seed=cell.seed,
        observations="images" if bundle.spec.cameras else "features",
        steps=training.steps,
        final_loss=training.loss,
        bundle_mb=round(sum(file.stat().st_size for file in bundle.path.iterdir()) / 1e6, 2),
        bundle_hash=bundle.hash,
        evaluation_seed=cell.evaluation.seed,
        outcomes=outcomes,
        completed=completed,
        step_s=round(training.step_s, 6),
        # Of a training that was stopped, the last start alone is known, but the steps of all starts.
        train_s=round(max(seconds.get(TRAIN, 0.0), training.step_s * training.steps), 1),
        export_s=round(seconds.get(EXPORT, 0.0), 1),
        evaluate_s=round(sum(seconds.get(stage, 0.0) for stage in EVALUATIONS), 1),
        versions=versions(job.root),
        machine=machine(),
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        shift=cell.shift.name,
        base="" if cell.base is None else cell.base.hash,
        trained_fraction=training.fraction,
        as_built=outcome_strings(cell.task, as_built["results"])[0],
        base_bundle="" if job.base is None else load_bundle(job.base / "bundle").hash,
    )
    details = {"configuration": trained["config"], "episodes": evaluation["results"]}
    return result, details | ({"episodes_as_built": as_built["results"]} if result.as_built else {})


@dataclass(frozen=True)
class _Training:
    """How a policy was trained; ``fraction``: the share of its parameters that was."""

    steps: int
    loss: float
    step_s: float
    fraction: float


def _training(job: Job, seconds: Mapping[str, float], steps: int) -> _Training:
    loss, step_s = _loss_curve(job.folder / TRAIN / "loss.csv")
    facts = _read_json(job.folder / TRAIN / FACTS_FILE) or {}
    step_s = seconds[TRAIN] / steps if math.isnan(step_s) else step_s
    return _Training(steps, loss, step_s, round(facts.get("trained_fraction", 1.0), 6))


def _evaluation(folder: Path, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / EVALUATIONS[stage]).read_text(encoding="utf-8"))
    return found


def _loss_curve(file: Path) -> tuple[float, float]:
    """The mean loss of the curve's last tenth, and the mean seconds of a step; not a number where it has no line yet."""
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        return math.nan, math.nan
    last = rows[-max(1, len(rows) // 10) :]
    mean_s = sum(float(row["seconds"]) for row in rows) / len(rows)
    return round(sum(float(row["loss"]) for row in last) / len(last), 6), mean_s


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    write_whole(file, json.dumps(content, indent=1) + "\n")
