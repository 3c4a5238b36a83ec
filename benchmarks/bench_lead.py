"""How an arm follows when franky's motions take over from each other: ``python benchmarks/bench_lead.py --json lead.json``.

Emulates, at 1 kHz and without a robot, what franky 2.0.0 does at a takeover: it starts from the last command and from the
velocity and acceleration that the robot reports, which are differences of commands. Position motions against velocity motions,
over smooth motion and over accelerations at the guard's limits. The real-time pace of the machine does not matter.
"""

import argparse
import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ruckig import InputParameter, Result, Ruckig, Synchronization, Trajectory
from tqdm import tqdm

from machine import describe_machine
from policy_server.runtime.clock import NS_PER_MS
from policy_server.runtime.command import run_command
from policy_server.runtime.resources import resource
from ros_nodes.franka.backends.franky_settings import FrankySettings
from ros_nodes.franka.backends.lead import ARM_JOINTS, motion_at
from ros_nodes.franka.motion_planner import MotionPlanner
from ros_nodes.franka.set_points import JointMotion, SetPoints
from ros_nodes.franka.settings import GuardSettings, load_guard_settings
from sim_bridge.fr3 import HOME_RAD
from sim_bridge.franky_emulation import STEP_S, EmulatedVelocityMotions, EmulationError

FloatArray = NDArray[np.float64]
TAKEOVER_MS = 20
_POINT_S = 0.01


@dataclass(frozen=True)
class Followed:
    """What the robot would have seen: jerks in rad/s³ (its limit is 5000), errors in rad against the set-points."""

    motion: str
    way: str
    jerk_max: float
    jerk_rms: float
    error_rms_rad: float
    error_max_rad: float


def main() -> int:
    arguments = _parse()
    guard = load_guard_settings(resource("config/arm.yaml"))
    cases = [(motion, way) for motion in ("smooth", "hard") for way in ("positions", "velocities")]
    results = []
    for motion, way in tqdm(cases, unit="case"):
        points = set_points(guard, motion, arguments.seconds, arguments.seed)
        results.append(follow(points, guard, motion, way, arguments.seed))
    print(f"{'motion':8} {'way':12} {'jerk max':>9} {'jerk rms':>9} {'error rms':>10} {'error max':>10}")
    for row in results:
        print(
            f"{row.motion:8} {row.way:12} {row.jerk_max:9.0f} {row.jerk_rms:9.0f} {1e3 * row.error_rms_rad:7.2f} mrad"
            f" {1e3 * row.error_max_rad:5.2f} mrad"
        )
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    record = {"machine": describe_machine(), "results": [dataclasses.asdict(row) for row in results]}
    arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"files: {arguments.json}")
    return 0


def set_points(guard: GuardSettings, motion: str, seconds: float, seed: int) -> SetPoints:
    """What the guard's planner makes of a slow wave (smooth) or of targets that jump (hard)."""
    planner, random = MotionPlanner(guard), np.random.Generator(np.random.PCG64(seed))
    period_ns = guard.set_point_period_ns
    rows = round(seconds / _POINT_S)
    state = JointMotion.at_rest(np.append(HOME_RAD, 0.04))
    motions, target, next_jump = [state], HOME_RAD, 0
    for row in range(1, rows):
        velocity = np.zeros(ARM_JOINTS)
        if motion == "smooth":
            now_s = row * _POINT_S
            size = 0.15 * min(1.0, now_s)
            target = HOME_RAD + size * np.sin(np.pi * now_s)
            velocity = np.full(ARM_JOINTS, size * np.pi * np.cos(np.pi * now_s))
        elif row >= next_jump:
            next_jump = row + int(random.integers(20, 80))
            target = HOME_RAD + random.uniform(-0.3, 0.3, ARM_JOINTS)
        state = planner.chase(state, np.append(target, 0.04), np.append(velocity, 0.0)).motion
        motions.append(state)
    return SetPoints.of([row * period_ns for row in range(rows)], motions, ARM_JOINTS + 1, "running")


def follow(points: SetPoints, guard: GuardSettings, motion: str, way: str, seed: int) -> Followed:
    """Lead an emulated robot through the set-points, with a takeover every 20 ms or so."""
    random = np.random.Generator(np.random.PCG64(seed))
    motions = (
        _PositionMotions(guard)
        if way == "positions"
        else EmulatedVelocityMotions(guard.limits, FrankySettings("emulated"), HOME_RAD)
    )
    commands, takeover_ms = [HOME_RAD.copy()] * 3, 0
    errors = []
    for now_ms in range(int(points.times_ns[-1]) // NS_PER_MS - 100):
        if now_ms >= takeover_ms:
            takeover_ms = now_ms + TAKEOVER_MS + int(random.integers(-2, 3))
            motions.take_over(points, now_ms * NS_PER_MS)
        commands.append(motions.step())
        errors.append(commands[-1] - motion_at(points, (now_ms + 1) * NS_PER_MS)[0][:ARM_JOINTS])
    jerks = np.abs(np.diff(commands, n=3, axis=0)).max(axis=1) / STEP_S**3
    return Followed(
        motion,
        way,
        jerk_max=float(jerks.max()),
        jerk_rms=float(np.sqrt(np.mean(np.square(jerks)))),
        error_rms_rad=float(np.sqrt(np.mean(np.square(errors)))),
        error_max_rad=float(np.abs(errors).max()),
    )


class _PositionMotions:
    """The other way: ruckig from the state that the robot reports to a set-point ahead, with its velocity."""

    def __init__(self, guard: GuardSettings) -> None:
        settings, arm = FrankySettings("emulated"), slice(0, ARM_JOINTS)
        self._lookahead_ns = settings.lead.lookahead_ns
        self._commands = [HOME_RAD.copy()] * 3
        self._ruckig = Ruckig(ARM_JOINTS, STEP_S)
        self._trajectory = Trajectory(ARM_JOINTS)
        self._input = InputParameter(ARM_JOINTS)
        self._input.synchronization = Synchronization.Time
        self._input.minimum_duration = settings.lead.lookahead_ns * 1e-9
        self._input.max_velocity = guard.limits.velocity[arm] * settings.lead.velocity_share
        self._input.max_acceleration = guard.limits.acceleration[arm] * settings.acceleration_share
        self._input.max_jerk = guard.limits.jerk[arm] * settings.jerk_share
        self._age_s = 0.0

    def take_over(self, points: SetPoints, now_ns: int) -> None:
        position, velocity = motion_at(points, now_ns + self._lookahead_ns)
        plan, commands = self._input, self._commands
        plan.current_position = commands[-1]
        plan.current_velocity = (commands[-1] - commands[-2]) / STEP_S
        plan.current_acceleration = np.diff(commands, n=2, axis=0)[0] / STEP_S**2
        plan.target_position, plan.target_velocity = position[:ARM_JOINTS], velocity[:ARM_JOINTS]
        result = self._ruckig.calculate(plan, self._trajectory)
        if result not in (Result.Working, Result.Finished):
            raise EmulationError(f"franky's planner answers {result.name}: give other settings")
        self._age_s = 0.0

    def step(self) -> FloatArray:
        self._age_s += STEP_S
        position = np.array(self._trajectory.at_time(min(self._age_s, self._trajectory.duration))[0])
        self._commands = [*self._commands[1:], position]
        return position


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Jerk and error of franky's position and velocity motions that take over from each other, emulated.",
        epilog="example: python benchmarks/bench_lead.py --json runs/bench/lead.json",
    )
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--seconds", type=float, default=8.0, help="motion per case (default 8)")
    parser.add_argument("--seed", type=int, default=1, help="of the targets and the takeovers' jitter (default 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
