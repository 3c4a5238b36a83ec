"""``pick_and_place``: put the cube into the tray. Nothing to remember."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_bridge.fr3 import FINGER_OPEN_M
from sim_bridge.gl_backend import mujoco
from sim_bridge.reach import HandGoals, is_reachable
from sim_bridge.shift import AS_BUILT, Colour, Shift
from sim_bridge.simulation import Simulation
from sim_bridge.tasks.carrying import CUBE_HALF_M, Carrier, add_cube, lies_alone, look_at_cube
from sim_bridge.tasks.features import HAND, as_features, cube_names, cube_pose, hand
from sim_bridge.tasks.task import RUNNING, Expert, Outcome, failed, succeeded
from sim_bridge.world import World

CUBE = "cube"
CUBE_CENTRE_M = (0.48, 0.14)
CUBE_JITTER_M = (0.06, 0.08)
CUBE_YAW_RAD = np.pi / 4
TRAY_CENTRE_M = (0.50, -0.17)
TRAY_JITTER_M = (0.05, 0.03)
TRAY_HALF_M = 0.075
TRAY_FLOOR_M = 0.004
WALL_HALF_HEIGHT_M = 0.008
WALL_HALF_WIDTH_M = 0.004

COLOURS = {"cube": (0.85, 0.15, 0.12), "tray": (0.20, 0.35, 0.60), "tray_wall": (0.15, 0.27, 0.48)}

REST_TICKS = 2
HORIZON_TICKS = 150


@dataclass(frozen=True)
class Episode:
    """What is drawn for one episode: places on the table, each (2,), m, and the cube's yaw."""

    cube_m: NDArray[np.float64]
    cube_yaw_rad: float
    tray_m: NDArray[np.float64]


class PickAndPlace:
    """Success when the cube lies still in the tray and the hand has left it."""

    name = "pick_and_place"
    description = "pick up the cube and put it into the tray"
    memory = "none"
    local_stability = "unstable"
    chance = 1.0
    horizon_ticks = HORIZON_TICKS
    start_finger_m = FINGER_OPEN_M
    feature_names: tuple[str, ...] = (*HAND, *cube_names(CUBE), "tray_x_m", "tray_y_m")

    def __init__(self, shift: Shift = AS_BUILT) -> None:
        """Raises ShiftError."""
        shift.meanings(())
        self.shift = shift
        self._colours = shift.recoloured(COLOURS)
        self._cube_half_m = CUBE_HALF_M * shift.object_scale
        self._goals = HandGoals(shift.table_m)
        self._rest_ticks = 0

    def build(self, spec: mujoco.MjSpec) -> None:
        _add_tray(spec, self._colours["tray"], self._colours["tray_wall"])
        add_cube(spec, CUBE, self._colours["cube"], self._cube_half_m)

    def reset(self, simulation: Simulation, rng: np.random.Generator) -> None:
        self.episode = draw_episode(rng)
        self._rest_ticks = 0
        simulation.place_mocap("tray", np.append(self.episode.tray_m, 0.0))
        simulation.place_free(CUBE, np.append(self.episode.cube_m, self._cube_half_m), self.episode.cube_yaw_rad)

    def tick(self, simulation: Simulation, tick: int) -> None:
        cube = simulation.data.joint(CUBE)
        offset = np.abs(cube.qpos[:2] - self.episode.tray_m)
        is_inside = (
            offset.max() < TRAY_HALF_M - self._cube_half_m and cube.qpos[2] < self._cube_half_m + 2 * TRAY_FLOOR_M
        )
        self._rest_ticks = self._rest_ticks + 1 if is_inside and lies_alone(simulation, CUBE) else 0

    def check(self, simulation: Simulation) -> Outcome:
        if self._rest_ticks >= REST_TICKS:
            return succeeded("the cube lies in the tray")
        if not is_reachable(simulation.data.joint(CUBE).qpos[:3]):
            return failed("the cube is out of reach")
        return RUNNING

    def features(self, simulation: Simulation) -> NDArray[np.float32]:
        tray_m = simulation.data.mocap_pos[simulation.mocap_id("tray"), :2]
        return as_features(hand(simulation), cube_pose(simulation, CUBE), tray_m)

    def expert(self, knows: bool, rng: np.random.Generator) -> Expert:
        place_m = np.append(self.episode.tray_m, TRAY_FLOOR_M + self._cube_half_m)
        return PickAndPlaceExpert(Carrier(self._goals), place_m)


class PickAndPlaceExpert:
    """Fetches the cube whenever it is neither held nor in the tray."""

    def __init__(self, carrier: Carrier, place_m: NDArray[np.float64]) -> None:
        self._carrier = carrier
        self._place_m = place_m

    def action(self, world: World, set_point: NDArray[np.float64]) -> NDArray[np.float64]:
        moment = look_at_cube(world.simulation, CUBE, float(set_point[7]))
        if moment.is_held or moment.is_at(self._place_m):
            return self._carrier.put_down(moment, set_point, self._place_m)
        return self._carrier.fetch(moment, set_point)


def draw_episode(rng: np.random.Generator) -> Episode:
    """Cube on one side, tray on the other; which is which is drawn too."""
    side = np.array([1.0, rng.choice([-1.0, 1.0])])
    cube_m = side * (np.array(CUBE_CENTRE_M) + rng.uniform(-1, 1, 2) * CUBE_JITTER_M)
    tray_m = side * (np.array(TRAY_CENTRE_M) + rng.uniform(-1, 1, 2) * TRAY_JITTER_M)
    return Episode(cube_m, float(rng.uniform(-CUBE_YAW_RAD, CUBE_YAW_RAD)), tray_m)


def _add_tray(spec: mujoco.MjSpec, floor_colour: Colour, wall_colour: Colour) -> None:
    tray = spec.worldbody.add_body(name="tray", mocap=True)
    floor, wall = [*floor_colour, 1.0], [*wall_colour, 1.0]
    half_floor_m = TRAY_FLOOR_M / 2
    box = mujoco.mjtGeom.mjGEOM_BOX
    tray.add_geom(type=box, size=[TRAY_HALF_M, TRAY_HALF_M, half_floor_m], pos=[0, 0, half_floor_m], rgba=floor)
    for sign in (-1, 1):
        edge_m = sign * TRAY_HALF_M
        along_x, along_y = [TRAY_HALF_M, WALL_HALF_WIDTH_M], [WALL_HALF_WIDTH_M, TRAY_HALF_M]
        tray.add_geom(type=box, size=[*along_x, WALL_HALF_HEIGHT_M], pos=[0, edge_m, WALL_HALF_HEIGHT_M], rgba=wall)
        tray.add_geom(type=box, size=[*along_y, WALL_HALF_HEIGHT_M], pos=[edge_m, 0, WALL_HALF_HEIGHT_M], rgba=wall)
