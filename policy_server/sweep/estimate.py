"""How much longer a sweep takes, by the runs that were measured."""

import math
from collections.abc import Sequence

from policy_server.sweep.jobs import Job


def time_left_s(jobs: Sequence[Job], workers: int) -> float | None:
    """Wall time until all ``jobs`` are done; None while nothing was measured."""
    known = {job.size: step_s for job in jobs if (step_s := job.step_s) is not None}
    rest_s = [(job.steps - job.steps_done) * _step_s(job, known) for job in jobs if not job.is_done] if known else []
    if not known:
        return None
    return max([sum(rest_s) / workers, *rest_s], default=0.0)


def _step_s(job: Job, known: dict[int, float]) -> float:
    """Its own, or that of the nearest size, taken to grow with the size: small networks take more than their share."""
    own = job.step_s
    if own is not None:
        return own
    nearest = min(known, key=lambda size: abs(math.log(size / job.size)))
    return known[nearest] * max(1.0, job.size / nearest)


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
