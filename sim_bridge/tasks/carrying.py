"""The experts' law for a cube: fetch it, carry it, put it down. What comes next follows from where things are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_bridge.fr3 import FINGER_OPEN_M
from sim_bridge.gl_backend import mujoco
from sim_bridge.reach import HandGoals, above, step_towards
from sim_bridge.simulation import Simulation

CUBE_HALF_M = 0.02
CUBE_MASS_KG = 0.06
GRIP_M = 0.012
HELD_BELOW_M = 0.016
RELEASED_ABOVE_M = 0.034

HOVER_M = 0.09
CARRY_HEIGHT_M = 0.15
NEAR_GRASP_M = 0.015
ALIGNED_M = 0.012
ALIGNED_LOW_M = 0.018
LOW_M = 0.05
ALIGNED_RAD = 0.15
AT_DEPTH_M = 0.010
OVER_PLACE_M = 0.015
AT_PLACE_M = 0.025
ON_TABLE_M = 0.008
PUT_DOWN_CLEARANCE_M = 0.002
CARRY_STEP_RAD = 0.075
FINE_GAIN = 0.45

LEFT_ALONE_M = 0.08
AT_REST_M_PER_S = 0.02


@dataclass(frozen=True)
class Moment:
    """Where hand and cube are at one moment, base frame: positions (3,), m; yaws, rad; the finger's set-point, m."""

    hand_m: NDArray[np.float64]
    hand_yaw_rad: float
    cube_m: NDArray[np.float64]
    cube_yaw_rad: float
    finger_m: float

    @property
    def is_held(self) -> bool:
        near = np.abs(self.hand_m - self.cube_m).max() < NEAR_GRASP_M
        return bool(near) and self.finger_m < HELD_BELOW_M

    def is_at(self, place_m: NDArray[np.float64]) -> bool:
        """Whether the cube rests at a place (3,), the centre of the cube when it lies there."""
        offset = np.abs(self.cube_m - place_m)
        return bool(np.hypot(*offset[:2]) < AT_PLACE_M and offset[2] < ON_TABLE_M)


def add_cube(spec: mujoco.MjSpec, name: str, colour: tuple[float, float, float], half_m: float = CUBE_HALF_M) -> None:
    """A free cube that the hand can grasp; its joint has the same name. ``half_m``: half its side."""
    body = spec.worldbody.add_body(name=name, pos=[0.5, 0, half_m])
    body.add_freejoint(name=name)
    body.add_geom(
        name=name, type=mujoco.mjtGeom.mjGEOM_BOX, size=[half_m] * 3, rgba=[*colour, 1.0], mass=CUBE_MASS_KG,
        condim=4, friction=[0.8, 0.01, 0.0001],
    )  # fmt: skip


def look_at_cube(simulation: Simulation, name: str, finger_m: float) -> Moment:
    hand_x_axis = simulation.data.site_xmat[simulation.tcp_site].reshape(3, 3)[:, 0]
    pose = simulation.data.joint(name).qpos
    w, x, y, z = pose[3:7]
    cube_yaw_rad = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return Moment(
        simulation.hand_position(),
        float(np.arctan2(hand_x_axis[1], hand_x_axis[0])),
        pose[:3].copy(),
        float(_fold_quarter_turn(cube_yaw_rad)),
        finger_m,
    )


def lies_alone(simulation: Simulation, name: str) -> bool:
    """Whether the cube is at rest and the hand has left it."""
    cube = simulation.data.joint(name)
    away_m = np.linalg.norm(simulation.hand_position() - cube.qpos[:3])
    return bool(away_m > LEFT_ALONE_M and np.linalg.norm(cube.qvel[:3]) < AT_REST_M_PER_S)


class Carrier:
    """Turns a moment into the next set-point. Without memory, so a slip or a push ends in a new attempt."""

    def __init__(self, goals: HandGoals) -> None:
        self._goals = goals

    def fetch(self, moment: Moment, set_point: NDArray[np.float64]) -> NDArray[np.float64]:
        """Over the cube, down, close."""
        aside_m = np.hypot(*(moment.hand_m - moment.cube_m)[:2])
        turned_rad = abs(_fold_quarter_turn(moment.hand_yaw_rad - moment.cube_yaw_rad))
        # Between the fingers there is more room than above: do not rise again for a slip of a few mm.
        is_low = moment.hand_m[2] - moment.cube_m[2] < LOW_M
        if aside_m > (ALIGNED_LOW_M if is_low else ALIGNED_M) or turned_rad > ALIGNED_RAD:
            goal = self._goals.goal(above(moment.cube_m, HOVER_M), moment.cube_yaw_rad, FINGER_OPEN_M)
            return step_towards(set_point, goal, gain=FINE_GAIN)
        is_deep = moment.hand_m[2] - moment.cube_m[2] < AT_DEPTH_M
        goal = self._goals.goal(moment.cube_m, moment.cube_yaw_rad, GRIP_M if is_deep else FINGER_OPEN_M)
        return step_towards(set_point, goal, gain=FINE_GAIN)

    def carry(self, moment: Moment, set_point: NDArray[np.float64], over_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Up, then across to a point (3,) in the air; holds there."""
        away_m = np.hypot(*(moment.hand_m - over_m)[:2])
        is_low = moment.hand_m[2] < over_m[2] - 0.05
        target_m = np.append(moment.hand_m[:2], over_m[2]) if is_low and away_m > 2 * OVER_PLACE_M else over_m
        return step_towards(set_point, self._goals.goal(target_m, 0.0, GRIP_M), max_step_rad=CARRY_STEP_RAD)

    def put_down(
        self, moment: Moment, set_point: NDArray[np.float64], place_m: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Carries the held cube to rest with its centre at ``place_m`` (3,), opens the hand there and leaves it."""
        if moment.is_at(place_m):
            return self._let_go(moment, set_point)
        away_m = np.hypot(*(moment.hand_m - place_m)[:2])
        if away_m > OVER_PLACE_M:
            return self.carry(moment, set_point, np.array([*place_m[:2], CARRY_HEIGHT_M]))
        goal = self._goals.goal(above(place_m, PUT_DOWN_CLEARANCE_M), 0.0, GRIP_M)
        return step_towards(set_point, goal, gain=FINE_GAIN, max_step_rad=CARRY_STEP_RAD)

    def _let_go(self, moment: Moment, set_point: NDArray[np.float64]) -> NDArray[np.float64]:
        if moment.finger_m < RELEASED_ABOVE_M:
            return step_towards(set_point, np.append(set_point[:7], FINGER_OPEN_M))
        above_m = np.append(moment.hand_m[:2], CARRY_HEIGHT_M)
        return step_towards(set_point, self._goals.goal(above_m, moment.hand_yaw_rad, FINGER_OPEN_M))


def _fold_quarter_turn(angle_rad: float) -> float:
    """The same direction of a square's side, in [-pi/4, pi/4)."""
    return float((angle_rad + np.pi / 4) % (np.pi / 2) - np.pi / 4)
