"""An independent judge of set-points: reads the limits from the YAML file by itself and shares no code with the guard.

It takes positions alone for the truth: their finite differences, each a mean over its span, so that a motion within the
limits can never show more than they allow. What is said of velocity and acceleration beside them is judged too.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

Array = NDArray[np.float64]

_ROUNDING = 1e-6  # share of a limit


@dataclass(frozen=True)
class JudgedLimits:
    """What set-points are held to: the shares of the robot's limits that the file says. Float64 (joints,), the finger last.

    Attributes:
        joints: names in column order.
        position_min, position_max: rad, m.
        velocity, acceleration, jerk: rad and m, per s, s² and s³.
        offset, slope, upper, lower: of the position-dependent velocity limit; infinite slopes and ends where there is none.
        rest_within_s: longest stop.
        watchdog_s: longest silence that is no stop.
    """

    joints: tuple[str, ...]
    position_min: Array
    position_max: Array
    velocity: Array
    acceleration: Array
    jerk: Array
    offset: Array
    slope: Array
    upper: Array
    lower: Array
    rest_within_s: float
    watchdog_s: float


def read_judged_limits(path: Path | str, robot: str) -> JudgedLimits:
    """The limits of one robot in an arm file. The file is taken to be whole: the guard has read it before."""
    file = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    table = file["robots"][robot]
    finger, unlimited = table["finger"], [np.inf] * 7
    envelope = table.get("velocity_envelope") or {
        "offset": [0.0] * 7,
        "slope": unlimited,
        "upper": unlimited,
        "lower": [-np.inf] * 7,
    }

    def row(name: str, scale: float = 1.0) -> Array:
        return scale * np.array([*table[name], finger[name]], np.float64)

    return JudgedLimits(
        (*table["joints"], finger["joint"]),
        row("position_min"),
        row("position_max"),
        row("velocity", file["velocity_scale"]),
        row("acceleration", file["acceleration_scale"]),
        row("jerk", file["jerk_scale"]),
        np.array([*envelope["offset"], 0.0]),
        np.array([*envelope["slope"], np.inf]),
        np.array([*envelope["upper"], np.inf]),
        np.array([*envelope["lower"], -np.inf]),
        file["rest_within_s"],
        file["watchdog_s"],
    )


def violations(positions: Array, period_s: float, limits: JudgedLimits) -> list[str]:
    """What is wrong with a motion that begins at rest at its first row; float64 (n, joints), evenly spaced. Empty when all
    is well."""
    resting = np.concatenate([np.repeat(positions[:1], 3, axis=0), positions])
    found = [] if np.isfinite(positions).all() else ["not finite"]
    low, high = positions.min(axis=0), positions.max(axis=0)
    found += _named("position below", limits.position_min - low, limits)
    found += _named("position above", high - limits.position_max, limits)
    differences = resting
    for name in ("velocity", "acceleration", "jerk"):
        differences = np.diff(differences, axis=0) / period_s
        found += _named(name, _excess(differences, getattr(limits, name)), limits)
    return found + _named("velocity envelope", _envelope_excess(resting, period_s, limits), limits)


def stated_violations(velocities: Array, accelerations: Array, period_s: float, limits: JudgedLimits) -> list[str]:
    """What is wrong with the velocities and accelerations that set-points state beside their positions, (n, joints) each."""
    jerks = np.diff(accelerations, axis=0, prepend=np.zeros((1, accelerations.shape[1]))) / period_s
    stated = (("velocity", velocities), ("acceleration", accelerations), ("jerk", jerks))
    return [
        complaint
        for name, values in stated
        for complaint in _named(f"stated {name}", _excess(values, getattr(limits, name)), limits)
    ]


def _excess(values: Array, allowed: Array) -> Array:
    """By which share the largest value exceeds what is allowed; where that is 0, by how much."""
    largest = np.abs(values).max(axis=0)
    return (largest - allowed) / np.where(allowed > 0.0, allowed, 1.0)


def _envelope_excess(positions: Array, period_s: float, limits: JudgedLimits) -> Array:
    """By how much the mean velocity of a period exceeds what its start, its least strict point, allows."""
    velocities, start = np.diff(positions, axis=0) / period_s, positions[:-1]
    up = np.sqrt(np.maximum(limits.slope * (limits.upper - start), 0.0)) - limits.offset
    down = np.sqrt(np.maximum(limits.slope * (start - limits.lower), 0.0)) - limits.offset
    return np.maximum(velocities - np.maximum(up, 0.0), -velocities - np.maximum(down, 0.0)).max(axis=0)


def _named(what: str, excess: Array, limits: JudgedLimits) -> list[str]:
    pairs = zip(limits.joints, excess, strict=True)
    return [f"{what}: {joint} by {value:.3g}" for joint, value in pairs if not value <= _ROUNDING]  # NaN is a violation
