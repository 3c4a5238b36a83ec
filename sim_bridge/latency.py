"""Latency per stage of the graph, out of a run's ``timing.csv``."""

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policy_server.runtime.clock import NS_PER_MS
from sim_bridge.run_files import TIMING_FILE

_STAGES = ("capture", "history_node", "inference_node", "arm_node")


@dataclass(frozen=True)
class TickTimes:
    """Wall-clock times of one tick's way through the graph, in ns; ``network_ns`` are durations."""

    stamp_ns: int
    captured_ns: int
    history_received_ns: int
    history_published_ns: int
    encoder_ns: int
    inference_received_ns: int
    inference_published_ns: int
    denoiser_ns: int
    arm_received_ns: int
    arm_published_ns: int

    @property
    def total_ns(self) -> int:
        """Capture to arm command."""
        return self.arm_published_ns - self.captured_ns

    @property
    def overhead_ns(self) -> int:
        """Everything but the networks."""
        return self.total_ns - self.encoder_ns - self.denoiser_ns


@dataclass(frozen=True)
class StageLatency:
    """Percentiles of one stage over all ticks, in ms."""

    stage: str
    p50_ms: float
    p95_ms: float
    p99_ms: float


def read_ticks(folder: Path) -> tuple[list[TickTimes], int]:
    """Ticks that went all the way, and how many captured ticks did not."""
    seen: dict[int, dict[str, tuple[int, int, int]]] = defaultdict(dict)
    with (folder / TIMING_FILE).open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            times = (int(row["received_ns"]), int(row["published_ns"]), int(row["network_ns"]))
            # A tick that was shown again keeps its first capture.
            seen[int(row["stamp_ns"])].setdefault(row["stage"], times)
    captured = [stamp_ns for stamp_ns, stages in seen.items() if "capture" in stages]
    whole = [
        _tick(stamp_ns, seen[stamp_ns]) for stamp_ns in captured if all(stage in seen[stamp_ns] for stage in _STAGES)
    ]
    return whole, len(captured) - len(whole)


def stage_latencies(ticks: list[TickTimes]) -> list[StageLatency]:
    """p50, p95 and p99 per stage; the denoiser only over ticks in which it ran."""
    rows = {
        "capture → history": [tick.history_received_ns - tick.captured_ns for tick in ticks],
        "history: encoder": [tick.encoder_ns for tick in ticks],
        "history: rest": [tick.history_published_ns - tick.history_received_ns - tick.encoder_ns for tick in ticks],
        "history → inference": [tick.inference_received_ns - tick.history_published_ns for tick in ticks],
        "inference: denoiser": [tick.denoiser_ns for tick in ticks if tick.denoiser_ns],
        "inference: rest": [
            tick.inference_published_ns - tick.inference_received_ns - tick.denoiser_ns for tick in ticks
        ],
        "inference → arm": [tick.arm_received_ns - tick.inference_published_ns for tick in ticks],
        "arm: guard": [tick.arm_published_ns - tick.arm_received_ns for tick in ticks],
        "all but the networks": [tick.overhead_ns for tick in ticks],
        "capture → arm command": [tick.total_ns for tick in ticks],
    }
    return [_percentiles(stage, values) for stage, values in rows.items() if values]


def latency_table(latencies: list[StageLatency]) -> str:
    """The latencies as text, in ms."""
    lines = [f"{'stage':<24}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}"]
    lines += [f"{row.stage:<24}{row.p50_ms:>9.2f}{row.p95_ms:>9.2f}{row.p99_ms:>9.2f}" for row in latencies]
    return "\n".join(lines)


def _tick(stamp_ns: int, stages: dict[str, tuple[int, int, int]]) -> TickTimes:
    history, inference, arm = stages["history_node"], stages["inference_node"], stages["arm_node"]
    return TickTimes(stamp_ns, stages["capture"][0], *history, *inference, arm[0], arm[1])


def _percentiles(stage: str, values_ns: list[int]) -> StageLatency:
    p50, p95, p99 = np.percentile(np.array(values_ns) / NS_PER_MS, (50, 95, 99))
    return StageLatency(stage, float(p50), float(p95), float(p99))
