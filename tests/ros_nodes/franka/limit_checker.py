"""An independent judge of set-points: finite differences of positions against the limits, without the guard's code."""

import numpy as np
from numpy.typing import NDArray

from ros_nodes.franka.limits import JointLimits


def violations(
    positions: NDArray[np.float64], period_s: float, limits: JointLimits, scale: tuple[float, float, float]
) -> list[str]:
    """What is wrong with a motion that begins at rest at its first row; float64 (n, joints). Empty when all is well.

    ``scale`` is the allowed share of the velocity, acceleration and jerk limits.

    A finite difference is a mean over its span, so a motion within the limits can never show more than they allow.
    """
    resting = np.concatenate([np.repeat(positions[:1], 3, axis=0), positions])
    found = []
    if not np.isfinite(positions).all():
        found.append("not finite")
    low, high = positions.min(axis=0), positions.max(axis=0)
    found += _named("position below", limits.position_min - low, limits)
    found += _named("position above", high - limits.position_max, limits)
    for order, (name, share) in enumerate(zip(("velocity", "acceleration", "jerk"), scale, strict=True), start=1):
        largest = np.abs(np.diff(resting, n=order, axis=0)).max(axis=0) / period_s**order
        allowed = share * getattr(limits, name)
        found += _named(name, (largest - allowed) / allowed, limits)
    return found + _named("velocity envelope", _envelope_excess(resting, period_s, limits), limits)


def _envelope_excess(positions: NDArray[np.float64], period_s: float, limits: JointLimits) -> NDArray[np.float64]:
    """By how much the mean velocity of a period exceeds what its start, its least strict point, allows."""
    velocities = np.diff(positions, axis=0) / period_s
    envelope, start = limits.envelope, positions[:-1]
    up = np.sqrt(np.maximum(envelope.slope * (envelope.upper - start), 0.0)) - envelope.offset
    down = np.sqrt(np.maximum(envelope.slope * (start - envelope.lower), 0.0)) - envelope.offset
    return np.maximum(velocities - np.maximum(up, 0.0), -velocities - np.maximum(down, 0.0)).max(axis=0)


def _named(what: str, excess: NDArray[np.float64], limits: JointLimits) -> list[str]:
    pairs = zip(limits.joints, excess, strict=True)
    return [f"{what}: {joint} by {value:.3g}" for joint, value in pairs if not value <= 1e-6]  # NaN is a violation
