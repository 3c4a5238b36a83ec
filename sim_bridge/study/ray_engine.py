"""Cells as tasks of a Ray cluster: ``--engine ray --address auto``.

Each machine needs the project, installed alike and at the same path. Results come back through Ray, so the machines need not share
a file system; where they do, a cell that is begun again on another machine goes on from its checkpoint.
"""

import os
import time
from typing import Any

from policy_server.runtime.child import GRACE_S
from policy_server.runtime.errors import ConfigurationError, PolicyError
from sim_bridge.study.cell_run import CELL_FILE, CellProcess, Failure, Job, forget_failure, read_cell, record_failure
from sim_bridge.study.configuration import CollectionConfig
from sim_bridge.study.datasets import collect, count_of, source_of
from sim_bridge.study.engine import POLL_S
from sim_bridge.study.result import CellResult

_STOP_S = GRACE_S + 3.0


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ConfigurationError(
            "--engine ray: Ray is not installed; pip install -c constraints.txt '.[study-ray]', or leave --engine out"
        ) from None
    return ray


class RayEngine:
    """``gpus_per_cell`` may be a fraction, so that cells share a GPU; each cell takes one core."""

    def __init__(self, address: str, gpus_per_cell: float, collection: CollectionConfig) -> None:
        self._ray = _ray()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        where = {"include_dashboard": False} if address == "local" else {"address": address}
        try:
            self._ray.init(**where, log_to_driver=False, configure_logging=False)
        except ConnectionError as error:
            raise ConfigurationError(
                f"--address {address}: no Ray cluster answers ({error}); start one with 'ray start --head', or give local"
            ) from None
        self._collection = collection
        self._gpus_per_cell = gpus_per_cell
        self._task = self._ray.remote(num_cpus=1, num_gpus=gpus_per_cell, max_retries=2)(run_job)
        self._running: dict[Any, Job] = {}
        if self.slots == 0:
            raise ConfigurationError(
                f"--address {address}: the cluster has {self._ray.cluster_resources().get('GPU', 0)} GPUs and no room for a cell: "
                "lower --gpus-per-cell"
            )

    @property
    def slots(self) -> int:
        """What the cluster has room for now; it may grow."""
        resources = self._ray.cluster_resources()
        cores = int(resources.get("CPU", 0))
        return min(cores, int(resources.get("GPU", 0) / self._gpus_per_cell)) if self._gpus_per_cell else cores

    def submit(self, job: Job) -> None:
        self._running[self._task.remote(job, self._collection)] = job

    def finished(self, timeout_s: float) -> list[CellResult | Failure]:
        if not self._running:
            time.sleep(timeout_s)
            return []
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout_s)
        return [self._result(reference) for reference in ready]

    def stop(self) -> None:
        """Ray raises KeyboardInterrupt in the tasks, which end their commands."""
        for reference in self._running:
            self._ray.cancel(reference)
        if self._running:
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=_STOP_S)
        self._running.clear()
        self._ray.shutdown()

    def _result(self, reference: Any) -> CellResult | Failure:
        job = self._running.pop(reference)
        try:
            content = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            return record_failure(job, "ray", f"the task ended on its machine: {reason}")
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / CELL_FILE).write_bytes(content)
        end = read_cell(job.folder)
        assert end is not None
        return end


def run_job(job: Job, collection: CollectionConfig) -> bytes:
    """A whole cell, on the machine that Ray chose; returns its ``cell.json``.

    Raises:
        ConfigurationError: the project is not on this machine; nothing is written there.
    """
    _work(job, collection)
    return (job.folder / CELL_FILE).read_bytes()


def _work(job: Job, collection: CollectionConfig) -> None:
    if not job.root.is_dir():
        raise ConfigurationError(f"no folder '{job.root}' on {os.uname().nodename}: the project must be there")
    forget_failure(job.folder)  # of an earlier try on this machine; the study asks for this cell again
    source = source_of(job.cell, job.root)
    try:
        if count_of(source.dataset) < job.cell.demonstrations:
            collect(source, job.cell.demonstrations, collection, 1, job.root)
    except PolicyError as error:
        record_failure(job, "collect", str(error))
        return
    process = CellProcess(job)
    try:
        while process.poll() is None:
            time.sleep(POLL_S)
    finally:
        process.interrupt()
        process.end(GRACE_S)
