"""Latency per stage of the graph, out of a run's ``timing.csv``."""

import csv
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policy_server.runtime.clock import NS_PER_MS, NS_PER_S
from sim_bridge.run_files import TIMING_FILE

_STAGES = ("capture", "history_node", "inference_node", "arm_node")
_STAMP_JITTER_NS = 25 * NS_PER_MS


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


@dataclass(frozen=True)
class LostTick:
    """A tick that no arm command answered.

    Attributes:
        stamp_ns: its capture stamp.
        since_start_s: seconds from the run's first frame.
        reached: the last stage that reported it, in the order capture, history, inference, arm.
    """

    stamp_ns: int
    since_start_s: float
    reached: str


def read_ticks(folder: Path) -> tuple[list[TickTimes], list[LostTick]]:
    """Ticks that went all the way, and captured ticks that did not."""
    seen: dict[int, dict[str, tuple[int, int, int]]] = defaultdict(dict)
    with (folder / TIMING_FILE).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    captured = sorted({int(row["stamp_ns"]) for row in rows if row["stage"] == "capture"})
    for row in rows:
        times = (int(row["received_ns"]), int(row["published_ns"]), int(row["network_ns"]))
        # A tick that was shown again keeps its first capture.
        seen[_nearest_capture(int(row["stamp_ns"]), captured)].setdefault(row["stage"], times)
    whole = [
        _tick(stamp_ns, seen[stamp_ns]) for stamp_ns in captured if all(stage in seen[stamp_ns] for stage in _STAGES)
    ]
    lost = [
        LostTick(
            stamp_ns,
            (seen[stamp_ns]["capture"][0] - seen[captured[0]]["capture"][0]) / NS_PER_S,
            [stage for stage in _STAGES if stage in seen[stamp_ns]][-1],
        )
        for stamp_ns in captured
        if any(stage not in seen[stamp_ns] for stage in _STAGES)
    ]
    return whole, lost


def _nearest_capture(stamp_ns: int, captured: list[int]) -> int:
    """The rest of a standing chunk is stamped on that chunk's grid, a little beside the observation that it answers."""
    place = bisect_left(captured, stamp_ns)
    near = min(captured[max(place - 1, 0) : place + 1], key=lambda other: abs(other - stamp_ns), default=stamp_ns)
    return near if abs(near - stamp_ns) <= _STAMP_JITTER_NS else stamp_ns


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
