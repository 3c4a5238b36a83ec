"""``grasp_and_return``: show the cube at the display spot; about ten seconds later bring it back to where it was."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_bridge.fr3 import FINGER_OPEN_M
from sim_bridge.gl_backend import mujoco
from sim_bridge.reach import HandGoals, is_reachable
from sim_bridge.shift import AS_BUILT, Shift
from sim_bridge.simulation import Simulation
from sim_bridge.tasks import lamp
from sim_bridge.tasks.carrying import CUBE_HALF_M, ON_TABLE_M, Carrier, add_cube, lies_alone, look_at_cube
from sim_bridge.tasks.features import HAND, LAMP, as_features, cube_names, cube_pose, hand, shown_colour
from sim_bridge.tasks.task import RUNNING, Expert, Outcome, failed, succeeded
from sim_bridge.world import World

CUBE = "cube"
CUBE_CENTRE_M = (0.48, 0.06)
CUBE_JITTER_M = (0.08, 0.18)
CUBE_YAW_RAD = np.pi / 4
DISPLAY_M = (0.48, -0.24)
DISPLAY_RADIUS_M = 0.05
DISPLAY_HEIGHT_M = 0.14
SHOWN_WITHIN_M = 0.05
LAMP_M = (0.70, 0.0)
COLOURS = {"cube": (0.85, 0.15, 0.12), "display": (0.15, 0.65, 0.30), "go": lamp.WHITE}

SHOW_TICKS = (60, 80)
FETCH_TICKS = 70
RETURN_TICKS = 80
RETURNED_WITHIN_M = 0.035
REST_TICKS = 2


@dataclass(frozen=True)
class Episode:
    """What is drawn for one episode: where the cube lies, (2,), m, its yaw, and how long it is to be shown."""

    origin_m: NDArray[np.float64]
    cube_yaw_rad: float
    show_ticks: int


@dataclass
class Progress:
    """What has happened so far."""

    shown_ticks: int = 0
    may_return: bool = False
    rest_ticks: int = 0


class GraspAndReturn:
    """The lamp turns white when the cube has been held over the display spot for long enough: then return it."""

    name = "grasp_and_return"
    description = "hold the cube over the display spot until the lamp turns white, then put it back where it was"
    memory = "place"
    local_stability = "unstable"
    chance = 0.06
    horizon_ticks = FETCH_TICKS + SHOW_TICKS[1] + RETURN_TICKS
    start_finger_m = FINGER_OPEN_M
    feature_names: tuple[str, ...] = (*HAND, *LAMP, *cube_names(CUBE))

    def __init__(self, shift: Shift = AS_BUILT) -> None:
        """Raises ShiftError."""
        shift.meanings(())
        self.shift = shift
        self._colours = shift.recoloured(COLOURS)
        self.cube_half_m = CUBE_HALF_M * shift.object_scale
        self._goals = HandGoals(shift.table_m)

    def build(self, spec: mujoco.MjSpec) -> None:
        lamp.add_lamp(spec, LAMP_M)
        display = spec.worldbody.add_body(name="display", pos=[*DISPLAY_M, 0.0])
        display.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[DISPLAY_RADIUS_M, 0.0008, 0], pos=[0, 0, 0.0008],
            rgba=[*self._colours["display"], 1], contype=0, conaffinity=0,
        )  # fmt: skip
        add_cube(spec, CUBE, self._colours["cube"], self.cube_half_m)

    def reset(self, simulation: Simulation, rng: np.random.Generator) -> None:
        self.episode = draw_episode(rng)
        self.progress = Progress()
        simulation.place_free(CUBE, np.append(self.episode.origin_m, self.cube_half_m), self.episode.cube_yaw_rad)
        lamp.show(simulation, lamp.DARK)

    def tick(self, simulation: Simulation, tick: int) -> None:
        progress, cube = self.progress, simulation.data.joint(CUBE)
        is_shown = np.hypot(*(cube.qpos[:2] - DISPLAY_M)) < SHOWN_WITHIN_M and cube.qpos[2] > DISPLAY_HEIGHT_M / 2
        progress.shown_ticks += bool(is_shown)
        progress.may_return |= progress.shown_ticks >= self.episode.show_ticks
        is_down = cube.qpos[2] < self.cube_half_m + ON_TABLE_M and lies_alone(simulation, CUBE)
        progress.rest_ticks = progress.rest_ticks + 1 if progress.may_return and is_down else 0
        lamp.show(simulation, self._colours["go"] if progress.may_return else lamp.DARK)

    def check(self, simulation: Simulation) -> Outcome:
        if not is_reachable(simulation.data.joint(CUBE).qpos[:3]):
            return failed("the cube is out of reach")
        if self.progress.rest_ticks < REST_TICKS:
            return RUNNING
        distance_m = self._distance_to_origin(simulation)
        if distance_m < RETURNED_WITHIN_M:
            return succeeded(f"the cube lies {100 * distance_m:.1f} cm from where it was")
        return failed(f"the cube lies {100 * distance_m:.1f} cm from where it was")

    def features(self, simulation: Simulation) -> NDArray[np.float32]:
        cube = cube_pose(simulation, CUBE)
        return as_features(hand(simulation), shown_colour(simulation), cube)

    def expert(self, knows: bool, rng: np.random.Generator) -> Expert:
        place_m = self.episode.origin_m if knows else draw_episode(rng).origin_m
        return GraspAndReturnExpert(self, Carrier(self._goals), np.append(place_m, self.cube_half_m))

    def _distance_to_origin(self, simulation: Simulation) -> float:
        return float(np.hypot(*(simulation.data.joint(CUBE).qpos[:2] - self.episode.origin_m)))


class GraspAndReturnExpert:
    """Holds the cube over the display spot until it may return it; fetches it again whenever it is lost."""

    def __init__(self, task: GraspAndReturn, carrier: Carrier, place_m: NDArray[np.float64]) -> None:
        self._task = task
        self._carrier = carrier
        self._place_m = place_m

    def action(self, world: World, set_point: NDArray[np.float64]) -> NDArray[np.float64]:
        moment = look_at_cube(world.simulation, CUBE, float(set_point[7]))
        if self._task.progress.may_return and (moment.is_held or moment.is_at(self._place_m)):
            return self._carrier.put_down(moment, set_point, self._place_m)
        if moment.is_held:
            return self._carrier.carry(moment, set_point, np.array([*DISPLAY_M, DISPLAY_HEIGHT_M]))
        return self._carrier.fetch(moment, set_point)


def draw_episode(rng: np.random.Generator) -> Episode:
    origin_m = np.array(CUBE_CENTRE_M) + rng.uniform(-1, 1, 2) * CUBE_JITTER_M
    yaw_rad = float(rng.uniform(-CUBE_YAW_RAD, CUBE_YAW_RAD))
    return Episode(origin_m, yaw_rad, int(rng.integers(SHOW_TICKS[0], SHOW_TICKS[1] + 1)))
