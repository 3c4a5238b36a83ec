"""One set-point period at a time: chase a moving target, or brake, never leaving the limits.

The chase is time-optimal in the frame of the moving target: there the target rests, so that a target which moves
steadily is followed without lag. Before a step is taken, the planner makes sure that the arm could still brake to rest
inside the limits afterwards; a joint that could not brakes instead, and all of them where the arm would come to where it
may not be. So from a good start no input drives the arm out.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from ruckig import ControlInterface, InputParameter, Result, Ruckig, Synchronization, Trajectory

from policy_server.runtime.clock import ns_to_seconds
from policy_server.runtime.errors import PolicyError
from ros_nodes.franka.keep_out import KeepOut
from ros_nodes.franka.limits import FloatArray, VelocityEnvelope
from ros_nodes.franka.set_points import JointMotion
from ros_nodes.franka.settings import GuardSettings

_FRAME_SPEED_SHARE = 0.98  # of the planned velocity: what is left lets the joint still gain on the target
_ROUNDING = 1e-9
_HALF_WAY = 0.3  # of its time: a stop goes half of its way in its first 0.3


class PlannerError(PolicyError):
    """No way to brake was found: the arm's state is not one that the planner made."""


@dataclass(frozen=True)
class ChaseStep:
    """The motion one period on.

    Attributes:
        motion: where the joints are then.
        limited: whether a joint had to brake instead of following.
        kept_out: why all of them had to, one of ``KEEP_OUT_REASONS``; "" otherwise.
    """

    motion: JointMotion
    limited: bool
    kept_out: str = ""


class MotionPlanner:
    """Plans with the scaled velocity, acceleration and jerk of the settings; no answer depends on earlier calls.

    A joint whose velocity, acceleration or jerk limit is 0 stays where it is.
    """

    def __init__(self, settings: GuardSettings) -> None:
        limits = settings.limits
        self._joints = len(limits.joints)
        self._period_s = ns_to_seconds(settings.set_point_period_ns)
        self._position_min = limits.position_min
        self._position_max = limits.position_max
        self._plan_limits(settings)
        self._envelope = _brakeable(limits.envelope, self._acceleration)
        self._per_slope = 1.0 / self._envelope.slope
        self._keep_out = KeepOut(settings.workspace)
        self._ruckig = Ruckig(self._joints, self._period_s)
        self._chase_input = self._input(ControlInterface.Position)
        self._chase_trajectory = Trajectory(self._joints)
        self._brake_input = self._input(ControlInterface.Velocity)
        self._brake_trajectory = Trajectory(self._joints)

    def chase(self, motion: JointMotion, target: FloatArray, target_velocity: FloatArray) -> ChaseStep:
        """One period towards a target that is at ``target`` when the period ends and moves at ``target_velocity``."""
        if self._any_frozen:
            target = np.where(self._frozen, motion.position, target)
            target_velocity = np.where(self._frozen, 0.0, target_velocity)
        step = self._approach(motion, target, target_velocity)
        if step is None:
            return ChaseStep(self.brake(motion), limited=True)
        travel, surely_inside = self._stop_bounds(step)
        limited = False
        if not surely_inside:
            braking = ~self._can_brake(step)
            limited = bool(braking.any())
            if limited:
                step = _mixed(braking, self.brake(motion), step)
                travel, _ = self._stop_bounds(step)
        kept_out = self._keep_out.refusal(motion.position, step.position, travel, partial(self.stop, step))
        if kept_out:
            return ChaseStep(self.brake(motion), limited=True, kept_out=kept_out)
        return ChaseStep(step, limited)

    def brake(self, motion: JointMotion) -> JointMotion:
        """One period of the fastest smooth stop; exactly at rest once that is over."""
        self._plan_brake(motion)
        return self._braked(motion, self._period_s)

    def stop(self, motion: JointMotion) -> list[FloatArray]:
        """Positions, float64 (joints,) each, about half of the way through the fastest smooth stop and at its end."""
        self._plan_brake(motion)
        length_s = max(self._brake_trajectory.independent_min_durations)
        return [motion.position + self._brake_trajectory.at_time(share * length_s)[0] for share in (_HALF_WAY, 1.0)]

    def stop_every(self, motion: JointMotion, spacing_s: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The fastest smooth stop, sampled every ``spacing_s`` until all joints rest: positions, velocities and
        accelerations, float64 (samples, joints) each, at least one sample."""
        self._plan_brake(motion)
        durations_s = np.array(self._brake_trajectory.independent_min_durations)
        samples = max(1, int(np.ceil(durations_s.max() / spacing_s - _ROUNDING)))
        times_s = [spacing_s * number for number in range(1, samples + 1)]
        sampled = np.array([self._brake_trajectory.at_time(time_s) for time_s in times_s])
        moving = durations_s > np.array(times_s)[:, None] * (1.0 + _ROUNDING)
        sampled[:, 1:] *= moving[:, None]
        return motion.position + sampled[:, 0], sampled[:, 1], sampled[:, 2]

    def _braked(self, motion: JointMotion, after_s: float) -> JointMotion:
        travel, velocity, acceleration = self._brake_trajectory.at_time(after_s)
        moving = np.array(self._brake_trajectory.independent_min_durations) > after_s * (1.0 + _ROUNDING)
        return JointMotion(
            motion.position + travel, np.where(moving, velocity, 0.0), np.where(moving, acceleration, 0.0)
        )

    def _plan_limits(self, settings: GuardSettings) -> None:
        """What is planned with; ruckig takes no zeros, so the joints that these hold are left out of its hands."""
        limits = settings.limits
        velocity = limits.velocity * settings.velocity_scale
        acceleration = limits.acceleration * settings.acceleration_scale
        jerk = limits.jerk * settings.jerk_scale
        # The last set-point of a stop falls on the grid, up to a period after the stop's end.
        stop_s = max(0.0, ns_to_seconds(settings.rest_within_ns) - self._period_s)
        acceleration = np.minimum(acceleration, jerk * stop_s / 4.0)
        ramp_s = acceleration / np.where(jerk > 0.0, jerk, 1.0)
        velocity = np.minimum(velocity, acceleration * (stop_s - 2.0 * ramp_s))
        self._frozen = (velocity <= 0.0) | (acceleration <= 0.0) | (jerk <= 0.0)
        self._any_frozen = bool(self._frozen.any())
        self._velocity = np.where(self._frozen, 1.0, velocity)
        self._acceleration = np.where(self._frozen, 1.0, acceleration)
        self._jerk = np.where(self._frozen, 1.0, jerk)
        self._half_per_jerk = 0.5 / self._jerk
        self._half_per_acceleration = 0.5 / self._acceleration
        self._two_ramps_s = 2.0 * self._acceleration / self._jerk

    def _stop_bounds(self, motion: JointMotion) -> tuple[FloatArray, bool]:
        """How far each joint could at most travel in a stop from here, (joints,), and whether it surely stays inside.

        Bounds that a few sums give; ``_can_brake`` knows exactly.
        """
        envelope = self._envelope
        peak = np.abs(motion.velocity) + motion.acceleration * motion.acceleration * self._half_per_jerk
        travel = peak * (peak * self._half_per_acceleration + self._two_ramps_s)
        # Where the velocity envelope is as low as that peak.
        squared = peak + envelope.offset
        distance = squared * squared * self._per_slope
        highest = np.minimum(self._position_max, envelope.upper - distance)
        lowest = np.maximum(self._position_min, envelope.lower + distance)
        room = np.minimum(highest - motion.position, motion.position - lowest)
        return travel, bool((room - travel).min() >= 0.0)

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


def _mixed(braking: NDArray[np.bool_], braked: JointMotion, step: JointMotion) -> JointMotion:
    return JointMotion(
        np.where(braking, braked.position, step.position),
        np.where(braking, braked.velocity, step.velocity),
        np.where(braking, braked.acceleration, step.acceleration),
    )


def _brakeable(envelope: VelocityEnvelope, acceleration: FloatArray) -> VelocityEnvelope:
    """The envelope, narrowed where the arm could not slow down as fast as it shrinks: along it that takes slope / 2."""
    slope = np.where(np.isinf(envelope.slope), envelope.slope, np.minimum(envelope.slope, 2.0 * acceleration))
    return VelocityEnvelope(envelope.offset, slope, envelope.upper, envelope.lower)
