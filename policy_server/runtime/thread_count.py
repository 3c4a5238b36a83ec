"""How many threads a policy's denoiser is fastest with, on this machine: measured, since more are often slower."""

import os
import statistics
import time

import numpy as np

from policy_server.runtime.bundle import Bundle
from policy_server.runtime.engine import Denoiser

_ROUNDS = 9
_WORTH_A_CORE = 1.1


def fastest_thread_count(bundle: Bundle, provider: str = "cpu", most: int | None = None) -> int:
    """Sample some chunks with each number of threads up to ``most`` (all cores that this process may use), in turns. The answer is the
    fewest that are within a tenth of the fastest: the other cores serve the nodes beside."""
    counts = range(1, (most or len(os.sched_getaffinity(0))) + 1)
    if provider != "cpu" or len(counts) == 1:
        return 1
    return choose_thread_count({n: statistics.median(times) for n, times in _times_s(bundle, counts).items()})


def choose_thread_count(seconds: dict[int, float]) -> int:
    """The fewest threads that take at most a tenth longer than the fastest; ``seconds`` per number of threads."""
    bound_s = _WORTH_A_CORE * min(seconds.values())
    return min(threads for threads, taken_s in seconds.items() if taken_s <= bound_s)


def _times_s(bundle: Bundle, counts: range) -> dict[int, list[float]]:
    denoisers = {threads: Denoiser(bundle, threads=threads) for threads in counts}
    context = np.zeros((bundle.spec.history.length, bundle.spec.row_width), np.float32)
    times_s: dict[int, list[float]] = {threads: [] for threads in counts}
    for _ in range(_ROUNDS):
        for threads, denoiser in denoisers.items():
            begun_s = time.perf_counter()
            denoiser.sample(context, np.zeros(denoiser.chunk_shape, np.float32))
            times_s[threads].append(time.perf_counter() - begun_s)
    return times_s
