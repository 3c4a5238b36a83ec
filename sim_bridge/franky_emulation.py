"""franky's velocity motions that take over from each other, emulated at 1 kHz: what the robot is commanded, without a robot.

As franky 2.0.0 does it: a motion starts from the last command and the acceleration that the robot reports, which is a
difference of commands, and leads to a velocity and then to rest, planned by ruckig.
"""

import numpy as np
from numpy.typing import NDArray
from ruckig import InputParameter, Result, Ruckig, Synchronization, Trajectory

from policy_server.runtime.errors import PolicyError
from ros_nodes.franka.backends.franky_settings import FrankySettings
from ros_nodes.franka.backends.lead import ARM_JOINTS, lead_from
from ros_nodes.franka.limits import JointLimits
from ros_nodes.franka.set_points import SetPoints

FloatArray = NDArray[np.float64]
STEP_S = 1e-3


class EmulationError(PolicyError):
    """franky's planner found no way."""


class EmulatedVelocityMotions:
    """Commands of one arm, a millisecond at a time.

    Attributes:
        position_rad: commanded last, float64 (7,).
    """

    def __init__(self, limits: JointLimits, settings: FrankySettings, start_rad: FloatArray) -> None:
        arm = slice(0, ARM_JOINTS)
        self.position_rad = np.array(start_rad, np.float64)
        self._limits = limits
        self._settings = settings
        self._acceleration = limits.acceleration[arm] * settings.acceleration_share
        self._jerk = limits.jerk[arm] * settings.jerk_share
        self._velocities = [np.zeros(ARM_JOINTS), np.zeros(ARM_JOINTS)]  # the last two, which is what the robot knows
        self._ruckig = Ruckig(ARM_JOINTS, STEP_S)
        self._trajectory = Trajectory(ARM_JOINTS)
        self._stages: list[tuple[FloatArray, float]] = []
        self._age_s = 0.0

    def take_over(self, points: SetPoints, now_ns: int) -> None:
        """A new motion, as ``FrankyArm`` makes it of these set-points."""
        lead = lead_from(points, now_ns, self.position_rad, self._limits, self._settings.lead)
        before, last = self._velocities
        self._stages = [(np.zeros(ARM_JOINTS), 0.0)]
        self._plan(last, (last - before) / STEP_S, lead.velocity_rad_s, lead.duration_s)

    def step(self) -> FloatArray:
        """The position that is commanded one millisecond on, float64 (7,)."""
        velocity = self._next_velocity()
        self._velocities = [self._velocities[1], velocity]
        self.position_rad = self.position_rad + STEP_S * velocity
        return self.position_rad

    def _next_velocity(self) -> FloatArray:
        if not self._stages and self._age_s == 0.0:
            return np.zeros(ARM_JOINTS)
        self._age_s += STEP_S
        if self._age_s > self._trajectory.duration and self._stages:
            velocity, acceleration, _ = self._trajectory.at_time(self._trajectory.duration)
            self._plan(np.array(velocity), np.array(acceleration), *self._stages.pop(0))
            self._age_s = STEP_S
        return np.array(self._trajectory.at_time(min(self._age_s, self._trajectory.duration))[0])

    def _plan(self, velocity: FloatArray, acceleration: FloatArray, target: FloatArray, duration_s: float) -> None:
        """One derivative higher than ruckig's names: its position is the velocity, its velocity the acceleration."""
        plan = InputParameter(ARM_JOINTS)
        plan.synchronization = Synchronization.Time
        plan.current_position, plan.current_velocity, plan.target_position = velocity, acceleration, target
        plan.max_velocity, plan.max_acceleration = self._acceleration, self._jerk
        plan.max_jerk = [np.inf] * ARM_JOINTS
        if duration_s:
            plan.minimum_duration = duration_s
        result = self._ruckig.calculate(plan, self._trajectory)
        if result not in (Result.Working, Result.Finished):
            raise EmulationError(f"franky's planner answers {result.name}: give other settings")
        self._age_s = 0.0
