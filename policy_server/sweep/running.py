"""Runs the jobs of a sweep, several at once, until all are done or someone says stop."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from tqdm import tqdm

from policy_server.runtime.child import Child, last_error
from policy_server.runtime.command import EXIT_INTERRUPTED, stoppable
from policy_server.sweep.estimate import duration, time_left_s
from policy_server.sweep.jobs import Job, mark_done

_POLL_S, _SHOW_EVERY_S, _GRACE_S = 0.05, 2.0, 30.0
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_INTERRUPTED = (EXIT_INTERRUPTED, -signal.SIGINT, -signal.SIGTERM)


@dataclass(frozen=True)
class Failure:
    """A job whose command failed, and the last thing that it said."""

    job: Job
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What became of a call: ``stopped`` says that work is left because someone asked to stop."""

    failures: tuple[Failure, ...]
    stopped: bool


def run_jobs(jobs: Sequence[Job], workers: int) -> Outcome:
    """Run what is not done, in this order, ``workers`` at once, each with one thread and its share of the GPUs.

    SIGINT and SIGTERM end it within seconds; the runs at work save themselves and go on in the next call. A job that fails does not
    keep the others from running, and is tried again in the next call.
    """
    with _Display(jobs, workers) as display, stoppable() as stopped:
        return _Sweep(jobs, workers, display).run(stopped)


class _Sweep:
    def __init__(self, jobs: Sequence[Job], workers: int, display: "_Display") -> None:
        self._waiting = [job for job in jobs if not job.is_done]
        self._workers, self._display = workers, display
        self._gpus = visible_gpus()
        self._running: dict[int, tuple[Job, Child]] = {}
        self._failures: list[Failure] = []
        self._interrupted = False

    def run(self, stopped: Callable[[], bool]) -> Outcome:
        try:
            while (self._waiting or self._running) and not stopped():
                self._begin()
                self._take_up()
                self._display.show([job.name for job, _ in self._running.values()])
                time.sleep(_POLL_S)
            left = bool(self._waiting or self._running)
        finally:
            self._stop()
        return Outcome(tuple(self._failures), left or self._interrupted)

    def _begin(self) -> None:
        while self._waiting and len(self._running) < self._workers:
            slot = next(slot for slot in range(self._workers) if slot not in self._running)
            job = self._waiting.pop(0)
            gpu = {"CUDA_VISIBLE_DEVICES": self._gpus[slot % len(self._gpus)]} if self._gpus else {}
            job.log.parent.mkdir(parents=True, exist_ok=True)
            self._running[slot] = job, Child(job.command, job.log, Path.cwd(), {**os.environ, **_ONE_THREAD, **gpu})

    def _take_up(self) -> None:
        for slot, (job, child) in list(self._running.items()):
            if child.status is not None:
                del self._running[slot]
                self._take_up_one(job, child)

    def _take_up_one(self, job: Job, child: Child) -> None:
        if child.status == 0:
            mark_done(job, child.elapsed_s)
            self._display.tell(f"{job.name}: done in {duration(child.elapsed_s)}")
        elif child.status in _INTERRUPTED:
            self._interrupted = True
            self._display.tell(f"{job.name}: interrupted")
        else:
            failure = Failure(job, f"{last_error(job.log)} (status {child.status}; see {job.log})")
            self._failures.append(failure)
            self._display.tell(f"{job.name}: failed: {failure.reason}")

    def _stop(self) -> None:
        for _, child in self._running.values():
            child.interrupt()
        deadline_s = time.monotonic() + _GRACE_S
        for _, child in self._running.values():
            child.end(deadline_s - time.monotonic())


class _Display:
    """A bar over the steps of all jobs, with what runs and how long it will take."""

    def __init__(self, jobs: Sequence[Job], workers: int) -> None:
        self._jobs, self._workers = jobs, workers
        self._shown_s = -_SHOW_EVERY_S
        form = "{percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} steps{postfix}"
        self._bar = tqdm(total=sum(job.steps for job in jobs), bar_format=form)

    def __enter__(self) -> "_Display":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def tell(self, line: str) -> None:
        done = sum(job.is_done for job in self._jobs)
        tqdm.write(f"[{done}/{len(self._jobs)}{self._left()}] {line}")

    def show(self, running: Sequence[str]) -> None:
        if time.monotonic() - self._shown_s < _SHOW_EVERY_S:
            return
        self._shown_s = time.monotonic()
        self._bar.n = sum(job.steps_done for job in self._jobs)
        self._bar.set_postfix_str(f"{' '.join(running)}{self._left()}")

    def _left(self) -> str:
        left_s = time_left_s(self._jobs, self._workers)
        return "" if left_s is None else f", about {duration(left_s)} left"


def visible_gpus() -> list[str]:
    """Names of the GPUs to be shared, those that CUDA_VISIBLE_DEVICES leaves."""
    count = torch.cuda.device_count()
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return [name.strip() for name in listed if name.strip()][:count] or [str(number) for number in range(count)]


def list_jobs(jobs: Sequence[Job], workers: int) -> None:
    """Print every job with its state, and how long what is left takes."""
    width = max((len(job.name) for job in jobs), default=0)
    for job in jobs:
        state = "done" if job.is_done else f"step {job.steps_done} of {job.steps}"
        print(f"{job.name.ljust(width)}  {job.size / 1e6:8.2f} M parameters  {state}")
    left_s = time_left_s(jobs, workers)
    time_left = "" if left_s is None else f", about {duration(left_s)} with {workers} workers"
    print(f"{sum(not job.is_done for job in jobs)} of {len(jobs)} runs to do{time_left}")
