"""Where cells run: an engine takes jobs and gives results; this machine's is here, ``ray_engine`` has that of a cluster."""

import os
import time
from pathlib import Path
from typing import Protocol

from policy_server.runtime.child import GRACE_S
from sim_bridge.study.cell_run import CellProcess, Failure, Job
from sim_bridge.study.result import CellResult

POLL_S = 0.1
_NVIDIA_DEVICES = Path("/proc/driver/nvidia/gpus")


class Engine(Protocol):
    """Runs jobs at once, as many as it has slots."""

    @property
    def slots(self) -> int: ...

    def submit(self, job: Job) -> None:
        """Begin a cell; there must be a free slot."""
        ...

    def finished(self, timeout_s: float) -> list[CellResult | Failure]:
        """What has come to an end, waiting for so long if nothing has."""
        ...

    def stop(self) -> None:
        """End all cells at work, within seconds; they can be begun again where they were."""
        ...


class LocalEngine:
    """Cells on this machine, each with one thread and, where there are GPUs, the slot's share of them."""

    def __init__(self, workers: int, gpus: int) -> None:
        self._workers = workers
        self._gpus = gpus
        self._running: dict[int, CellProcess] = {}

    @property
    def slots(self) -> int:
        return self._workers

    def submit(self, job: Job) -> None:
        slot = next(slot for slot in range(self.slots) if slot not in self._running)
        environment = {"CUDA_VISIBLE_DEVICES": _gpu_name(slot % self._gpus)} if self._gpus else {}
        self._running[slot] = CellProcess(job, environment)

    def finished(self, timeout_s: float) -> list[CellResult | Failure]:
        deadline_s = time.monotonic() + timeout_s
        while True:
            ended = {slot: end for slot, cell in self._running.items() if (end := cell.poll()) is not None}
            for slot in ended:
                del self._running[slot]
            if ended or time.monotonic() > deadline_s:
                return list(ended.values())
            time.sleep(POLL_S)

    def stop(self) -> None:
        for cell in self._running.values():
            cell.interrupt()
        deadline_s = time.monotonic() + GRACE_S
        for cell in self._running.values():
            cell.end(deadline_s - time.monotonic())
        self._running.clear()


def usable_cores() -> int:
    return len(os.sched_getaffinity(0))


def visible_gpus() -> int:
    """GPUs that NVIDIA's driver lists, or as many of them as CUDA_VISIBLE_DEVICES leaves."""
    listed = len(list(_NVIDIA_DEVICES.iterdir())) if _NVIDIA_DEVICES.is_dir() else 0
    chosen = _chosen_gpus()
    return listed if chosen is None else min(listed, len(chosen))


def _chosen_gpus() -> list[str] | None:
    """Those that CUDA_VISIBLE_DEVICES names; None when it is not set."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return None if chosen is None else [part.strip() for part in chosen.split(",") if part.strip()]


def _gpu_name(index: int) -> str:
    """What a command must be told to use the GPU ``index`` of those that this process may use."""
    chosen = _chosen_gpus() or []
    return chosen[index] if index < len(chosen) else str(index)
