"""One set-point period at a time: chase a moving target, or brake, never leaving the limits.

The chase is time-optimal in the frame of the moving target: there the target rests, so that a target which moves
steadily is followed without lag. Before a step is taken, the planner makes sure that the arm could still brake to rest
inside the limits afterwards; a joint that could not brakes instead. So from a good start no input drives the arm out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ruckig import ControlInterface, InputParameter, Result, Ruckig, Synchronization, Trajectory

from policy_server.runtime.clock import ns_to_seconds
from policy_server.runtime.errors import PolicyError
from ros_nodes.franka.limits import FloatArray, VelocityEnvelope
from ros_nodes.franka.set_points import JointMotion
from ros_nodes.franka.settings import GuardSettings

_FRAME_SPEED_SHARE = 0.98  # of the planned velocity: what is left lets the joint still gain on the target
_ROUNDING = 1e-9


class PlannerError(PolicyError):
    """No way to brake was found: the arm's state is not one that the planner made."""


@dataclass(frozen=True)
class ChaseStep:
    """The motion one period on, and which joints had to brake instead of following, bool (joints,)."""

    motion: JointMotion
    limited: NDArray[np.bool_]


class MotionPlanner:
    """Plans with the scaled velocity, acceleration and jerk of the settings; holds no state between calls."""

    def __init__(self, settings: GuardSettings) -> None:
        limits = settings.limits
        self._joints = len(limits.joints)
        self._period_s = ns_to_seconds(settings.set_point_period_ns)
        self._position_min = limits.position_min
        self._position_max = limits.position_max
        self._velocity = limits.velocity * settings.velocity_scale
        self._acceleration = limits.acceleration * settings.acceleration_scale
        self._jerk = limits.jerk * settings.jerk_scale
        self._envelope = _brakeable(limits.envelope, self._acceleration)
        self._ruckig = Ruckig(self._joints, self._period_s)
        self._chase_input = self._input(ControlInterface.Position)
        self._chase_trajectory = Trajectory(self._joints)
        self._brake_input = self._input(ControlInterface.Velocity)
        self._brake_trajectory = Trajectory(self._joints)

    def chase(self, motion: JointMotion, target: FloatArray, target_velocity: FloatArray) -> ChaseStep:
        """One period towards a target that is at ``target`` when the period ends and moves at ``target_velocity``."""
        step = self._approach(motion, target, target_velocity)
        if step is None:
            return ChaseStep(self.brake(motion), np.ones(self._joints, np.bool_))
        limited = ~self._can_brake(step)
        if not limited.any():
            return ChaseStep(step, limited)
        braked = self.brake(motion)
        mixed = JointMotion(
            np.where(limited, braked.position, step.position),
            np.where(limited, braked.velocity, step.velocity),
            np.where(limited, braked.acceleration, step.acceleration),
        )
        return ChaseStep(mixed, limited)

    def brake(self, motion: JointMotion) -> JointMotion:
        """One period of the fastest smooth stop; exactly at rest once that is over."""
        self._plan_brake(motion)
        travel, velocity, acceleration = self._brake_trajectory.at_time(self._period_s)
        moving = np.array(self._brake_trajectory.independent_min_durations) > self._period_s
        return JointMotion(
            motion.position + travel, np.where(moving, velocity, 0.0), np.where(moving, acceleration, 0.0)
        )

    def _approach(self, motion: JointMotion, target: FloatArray, target_velocity: FloatArray) -> JointMotion | None:
        frame_limit = _FRAME_SPEED_SHARE * self._velocity
        frame_velocity = np.minimum(np.maximum(target_velocity, -frame_limit), frame_limit)
        frame_start = target - frame_velocity * self._period_s
        chase = self._chase_input
        chase.current_position = (motion.position - frame_start).tolist()
        chase.current_velocity = (motion.velocity - frame_velocity).tolist()
        chase.current_acceleration = motion.acceleration.tolist()
        chase.max_velocity = (self._velocity - frame_velocity).tolist()
        chase.min_velocity = (-self._velocity - frame_velocity).tolist()
        if self._ruckig.calculate(chase, self._chase_trajectory) not in (Result.Working, Result.Finished):
            return None
        position, velocity, acceleration = self._chase_trajectory.at_time(self._period_s)
        return JointMotion(np.array(position) + target, np.array(velocity) + frame_velocity, np.array(acceleration))

    def _plan_brake(self, motion: JointMotion) -> None:
        """In a frame that begins at the joints: ruckig counts position 0 among the extrema of a stop."""
        brake = self._brake_input
        brake.current_velocity = motion.velocity.tolist()
        brake.current_acceleration = motion.acceleration.tolist()
        result = self._ruckig.calculate(brake, self._brake_trajectory)
        if result not in (Result.Working, Result.Finished):
            raise PlannerError(
                f"no way to brake from velocities {motion.velocity.round(4).tolist()}: {result.name}; latch again"
            )

    def _can_brake(self, motion: JointMotion) -> NDArray[np.bool_]:
        """Whether a stop that begins now stays inside the position limits and the velocity envelope, bool (joints,)."""
        self._plan_brake(motion)
        extrema = self._brake_trajectory.position_extrema
        lowest = motion.position + [bound.min for bound in extrema]
        highest = motion.position + [bound.max for bound in extrema]
        inside = (lowest >= self._position_min - _ROUNDING) & (highest <= self._position_max + _ROUNDING)
        return inside & self._stays_in_envelope(motion)

    def _stays_in_envelope(self, motion: JointMotion) -> NDArray[np.bool_]:
        """Judged where the deceleration is fully built up: from there on braking outruns the shrinking envelope."""
        velocity, acceleration = motion.velocity, motion.acceleration
        peak_up = velocity + np.maximum(acceleration, 0.0) ** 2 / (2.0 * self._jerk)
        peak_down = -velocity + np.maximum(-acceleration, 0.0) ** 2 / (2.0 * self._jerk)
        ramp_up_s = np.maximum(self._acceleration + acceleration, 0.0) / self._jerk
        ramp_down_s = np.maximum(self._acceleration - acceleration, 0.0) / self._jerk
        furthest_up = motion.position + np.maximum(peak_up, 0.0) * ramp_up_s
        furthest_down = motion.position - np.maximum(peak_down, 0.0) * ramp_down_s
        inside = peak_up <= self._envelope.towards_upper(furthest_up) + _ROUNDING
        return inside & (peak_down <= self._envelope.towards_lower(furthest_down) + _ROUNDING)

    def _input(self, interface: ControlInterface) -> InputParameter:
        parameters = InputParameter(self._joints)
        parameters.control_interface = interface
        parameters.synchronization = Synchronization.No
        parameters.max_velocity = self._velocity.tolist()
        parameters.max_acceleration = self._acceleration.tolist()
        parameters.max_jerk = self._jerk.tolist()
        return parameters


def _brakeable(envelope: VelocityEnvelope, acceleration: FloatArray) -> VelocityEnvelope:
    """The envelope, narrowed where the arm could not slow down as fast as it shrinks: along it that takes slope / 2."""
    slope = np.where(np.isinf(envelope.slope), envelope.slope, np.minimum(envelope.slope, 2.0 * acceleration))
    return VelocityEnvelope(envelope.offset, slope, envelope.upper, envelope.lower)
