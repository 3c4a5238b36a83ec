"""One task in one MuJoCo world: what stands in for the arm, its cameras and the objects."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.errors import PolicyError
from sim_bridge.fr3 import COMMAND_JOINTS, HOME_RAD, JOINT_NAMES
from sim_bridge.gl_backend import mujoco
from sim_bridge.renderer import CameraView, Renderer
from sim_bridge.scene import base_spec
from sim_bridge.simulation import simulation_of
from sim_bridge.tasks.task import PHYSICS_STEP_NS, RUNNING, STEPS_PER_TICK, Outcome, Task

CHECK_EVERY_STEPS = 5
"""A divisor of STEPS_PER_TICK."""
START_SPREAD_RAD = 0.02
FEED_FORWARD_LIMIT = np.array([2.5] * 7 + [0.2])
"""Fastest set-point motion that is fed forward (rad/s, m/s); a jump beyond it is left to the position gain."""

__all__ = ["CameraView", "SetPointError", "World"]


class SetPointError(PolicyError):
    """Set-points of the wrong shape, or not finite."""


class World:
    """The arm, the table, the task's objects and the cameras.

    Joints are in the order of ``joint_names``: seven arm joints (rad), two fingers (m). Set-points have eight columns:
    the arm joints and the finger position. Positions are in the table's frame (see ``Simulation``), features in that of the arm's
    base. Not thread-safe; pictures must be drawn in the thread that made the world.
    """

    def __init__(self, task: Task, cameras: Sequence[CameraView]) -> None:
        """Builds the world and starts an episode with seed 0. Raises ``ConfigurationError`` for an unknown camera."""
        spec = base_spec(cameras, task.shift)
        task.build(spec)
        self.task = task
        self.simulation = simulation_of(spec.compile(), task.shift.table_m)
        self.joint_names = JOINT_NAMES
        self._renderer = Renderer(self.simulation.model, cameras) if cameras else None
        self._gain_ratio_s = _velocity_gain_over_position_gain(self.simulation.model)
        self._total_steps = 0
        self.reset(0)

    @property
    def time_ns(self) -> int:
        """Simulated time since construction; a reset does not turn it back."""
        return self._total_steps * PHYSICS_STEP_NS

    @property
    def tick_count(self) -> int:
        """Whole policy ticks since the reset."""
        return self._episode_steps // STEPS_PER_TICK

    @property
    def set_point(self) -> NDArray[np.float64]:
        """The last commanded set-point, float64 (8,); after a reset the start pose."""
        return self._set_point.copy()

    def reset(self, seed: int) -> None:
        """Starts the episode that belongs to ``seed``: the same seed gives the same bits, whatever came before."""
        rng = np.random.Generator(np.random.PCG64(seed))
        model, data = self.simulation.model, self.simulation.data
        mujoco.mj_resetData(model, data)
        arm_rad = HOME_RAD + rng.uniform(-START_SPREAD_RAD, START_SPREAD_RAD, 7)
        finger_m = self.task.start_finger_m
        data.qpos[: len(JOINT_NAMES)] = [*arm_rad, finger_m, finger_m]
        self._set_point = np.array([*arm_rad, finger_m])
        self._episode_steps = 0
        self._outcome = RUNNING
        data.ctrl[:] = self._set_point
        self.task.reset(self.simulation, rng)
        mujoco.mj_forward(model, data)

    def joint_positions(self) -> NDArray[np.float64]:
        """Measured positions, float64 (9,), rad and m."""
        return self.simulation.data.qpos[: len(JOINT_NAMES)].copy()

    def hand_position(self) -> NDArray[np.float64]:
        """Tool centre point, float64 (3,), m."""
        return self.simulation.hand_position()

    def features(self) -> NDArray[np.float32]:
        """What a perfect camera would see of the task now, float32 (F,), in the order of ``task.feature_names``."""
        return self.task.features(self.simulation)

    def outcome(self) -> Outcome:
        """How the episode stands; once it has ended it stays so until the next reset."""
        return self._outcome

    def advance(self, set_points: NDArray[np.float64]) -> None:
        """Runs one physics step (2 ms) for each row of ``set_points``, float64 (steps, 8), rad and m.

        The task's course of events moves on at each policy tick (every 50 steps since the reset) by itself.
        Raises ``SetPointError``.
        """
        _require_set_points(set_points)
        model, data = self.simulation.model, self.simulation.data
        actuators = data.ctrl
        for controls in self._controls(set_points):
            actuators[:] = controls
            mujoco.mj_step(model, data)
            self._total_steps += 1
            self._episode_steps += 1
            if self._episode_steps % CHECK_EVERY_STEPS == 0:
                self._watch()
        if len(set_points):
            self._set_point = set_points[-1].astype(np.float64)

    def render(self, camera_name: str) -> NDArray[np.uint8]:
        """The present moment through a camera: uint8 (height, width, 3), RGB, the caller's own copy."""
        if self._renderer is None:
            raise PolicyError("this world was made without cameras; name them when making it")
        model, data = self.simulation.model, self.simulation.data
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        return self._renderer.render(data, camera_name)

    def close(self) -> None:
        """Frees the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _controls(self, set_points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Actuator targets: set-points led by their own velocity, which cancels the lag of the velocity gain."""
        step_s = PHYSICS_STEP_NS * 1e-9
        velocity = np.diff(set_points, axis=0, prepend=self._set_point[None]) / step_s
        return set_points + self._gain_ratio_s * np.clip(velocity, -FEED_FORWARD_LIMIT, FEED_FORWARD_LIMIT)

    def _watch(self) -> None:
        """Lets the task judge first and then move on, so a moment is judged under the rules that held during it."""
        # A step ends with new joint positions but the body poses from before it.
        mujoco.mj_kinematics(self.simulation.model, self.simulation.data)
        if not self._outcome.done:
            self._outcome = self.task.check(self.simulation)
        if self._episode_steps % STEPS_PER_TICK:
            return
        self.task.tick(self.simulation, self.tick_count)
        if not self._outcome.done and self.tick_count >= self.task.horizon_ticks:
            self._outcome = Outcome(True, False, "time is up")


def _velocity_gain_over_position_gain(model: mujoco.MjModel) -> NDArray[np.float64]:
    actuators = [model.actuator(name) for name in (*COMMAND_JOINTS[:7], "fr3_fingers")]
    return np.array([actuator.biasprm[2] / actuator.biasprm[1] for actuator in actuators])


def _require_set_points(set_points: NDArray[np.float64]) -> None:
    if set_points.ndim != 2 or set_points.shape[1] != len(COMMAND_JOINTS):
        raise SetPointError(f"set-points of shape {set_points.shape}; give (steps, {len(COMMAND_JOINTS)})")
    if not np.isfinite(set_points).all():
        row, column = np.argwhere(~np.isfinite(set_points))[0]
        raise SetPointError(f"set-point of {COMMAND_JOINTS[column]} in row {row} is not finite; send numbers")
