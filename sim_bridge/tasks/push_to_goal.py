"""``push_to_goal``: push the disc into the marked area. Nothing to remember, but each push can go astray."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_bridge.gl_backend import mujoco
from sim_bridge.reach import HandGoals, is_reachable, step_towards
from sim_bridge.shift import AS_BUILT, Shift
from sim_bridge.simulation import Simulation
from sim_bridge.tasks.features import HAND, as_features, hand
from sim_bridge.tasks.task import RUNNING, Expert, Outcome, failed, succeeded
from sim_bridge.world import World

DISC_RADIUS_M = 0.045
DISC_HALF_HEIGHT_M = 0.02
DISC_FRICTION = 0.25
"""Low, and it wins over the fingers' rubber: a disc that sticks to the finger cannot be steered."""
DISC_CENTRE_M = (0.47, 0.0)
DISC_JITTER_M = (0.03, 0.10)
GOAL_CENTRE_M = (0.64, 0.0)
GOAL_JITTER_M = (0.02, 0.14)
GOAL_RADIUS_M = 0.06

CLOSE_ENOUGH_M = 0.025
AT_REST_M_PER_S = 0.02
REST_TICKS = 5
HORIZON_TICKS = 150

COLOURS = {"disc": (0.95, 0.55, 0.10), "goal": (0.15, 0.65, 0.30)}

PUSH_HEIGHT_M = 0.024
SAFE_HEIGHT_M = 0.12
STAGING_M = 0.045
"""Beyond the disc's rim."""
FORWARD_M = 0.012
FORWARD_WITHIN_M = 0.012
STOP_M = 0.012
LEVEL_M = 0.02
BESIDE_M = 0.025
AT_STAGING_M = 0.02
PUSH_STEP_RAD = 0.035


@dataclass(frozen=True)
class Episode:
    """What is drawn for one episode: places on the table, each (2,), m."""

    disc_m: NDArray[np.float64]
    goal_m: NDArray[np.float64]


class PushToGoal:
    """A free disc, a painted goal; success when the disc lies still near the goal's centre."""

    name = "push_to_goal"
    description = "push the disc into the marked area and leave it there"
    memory = "none"
    local_stability = "unstable"
    chance = 1.0
    horizon_ticks = HORIZON_TICKS
    start_finger_m = 0.0
    feature_names: tuple[str, ...] = (*HAND, "disc_x_m", "disc_y_m", "goal_x_m", "goal_y_m")

    def __init__(self, shift: Shift = AS_BUILT) -> None:
        """Raises ShiftError."""
        shift.meanings(())
        self.shift = shift
        self._colours = shift.recoloured(COLOURS)
        self.disc_radius_m = DISC_RADIUS_M * shift.object_scale
        self._goals = HandGoals(shift.table_m)
        self._rest_ticks = 0

    def build(self, spec: mujoco.MjSpec) -> None:
        goal = spec.worldbody.add_body(name="goal", mocap=True)
        goal.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[GOAL_RADIUS_M, 0.0008, 0], pos=[0, 0, 0.0008],
            rgba=[*self._colours["goal"], 1], contype=0, conaffinity=0,
        )  # fmt: skip
        disc = spec.worldbody.add_body(name="disc", pos=[0, 0, DISC_HALF_HEIGHT_M])
        disc.add_freejoint(name="disc")
        disc.add_geom(
            name="disc", type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[self.disc_radius_m, DISC_HALF_HEIGHT_M, 0],
            rgba=[*self._colours["disc"], 1], mass=0.2, condim=4, friction=[DISC_FRICTION, 0.003, 0.0001], priority=2,
        )  # fmt: skip

    def reset(self, simulation: Simulation, rng: np.random.Generator) -> None:
        self.episode = Episode(
            np.array(DISC_CENTRE_M) + rng.uniform(-1, 1, 2) * DISC_JITTER_M,
            np.array(GOAL_CENTRE_M) + rng.uniform(-1, 1, 2) * GOAL_JITTER_M,
        )
        self._rest_ticks = 0
        simulation.place_mocap("goal", np.append(self.episode.goal_m, 0.0))
        simulation.place_free("disc", np.append(self.episode.disc_m, DISC_HALF_HEIGHT_M))

    def tick(self, simulation: Simulation, tick: int) -> None:
        speed = np.linalg.norm(simulation.data.joint("disc").qvel[:3])
        is_there = np.linalg.norm(self.disc_position(simulation) - self.episode.goal_m) < CLOSE_ENOUGH_M
        self._rest_ticks = self._rest_ticks + 1 if is_there and speed < AT_REST_M_PER_S else 0

    def check(self, simulation: Simulation) -> Outcome:
        if self._rest_ticks >= REST_TICKS:
            return succeeded("the disc lies in the goal")
        if not is_reachable(simulation.data.joint("disc").qpos[:3]):
            return failed("the disc is out of reach")
        if simulation.data.body("disc").xmat[8] < 0.5:
            return failed("the disc tipped over")
        return RUNNING

    def features(self, simulation: Simulation) -> NDArray[np.float32]:
        goal_m = simulation.data.mocap_pos[simulation.mocap_id("goal"), :2]
        return as_features(hand(simulation), self.disc_position(simulation), goal_m)

    def expert(self, knows: bool, rng: np.random.Generator) -> Expert:
        return PushToGoalExpert(self, self._goals)

    def disc_position(self, simulation: Simulation) -> NDArray[np.float64]:
        """Centre of the disc on the table, float64 (2,), m."""
        return simulation.data.joint("disc").qpos[:2].copy()


class PushToGoalExpert:
    """Goes behind the disc, seen from the goal, and pushes through its centre; aims anew at each tick."""

    def __init__(self, task: PushToGoal, goals: HandGoals) -> None:
        self._task = task
        self._goals = goals

    def action(self, world: World, set_point: NDArray[np.float64]) -> NDArray[np.float64]:
        disc_m = self._task.disc_position(world.simulation)
        to_goal_m = self._task.episode.goal_m - disc_m
        distance_m = float(np.linalg.norm(to_goal_m))
        if distance_m < STOP_M:
            return set_point
        aim = to_goal_m / distance_m
        hand_m, radius_m = world.hand_position(), self._task.disc_radius_m
        along_m, beside_m = _split(hand_m[:2] - disc_m, aim)
        if hand_m[2] < PUSH_HEIGHT_M + LEVEL_M and along_m < -radius_m / 2 and np.linalg.norm(beside_m) < BESIDE_M:
            target_m = hand_m[:2] + _push(aim, beside_m)
            goal = self._goal(np.append(target_m, PUSH_HEIGHT_M), aim)
            return step_towards(set_point, goal, gain=1.0, max_step_rad=PUSH_STEP_RAD)
        return step_towards(
            set_point, self._goal(_approach(hand_m, disc_m - aim * (radius_m + STAGING_M)), aim), gain=0.45
        )

    def _goal(self, position_m: NDArray[np.float64], aim: NDArray[np.float64]) -> NDArray[np.float64]:
        """The fingers side by side make a flat face; square to the push, it keeps the disc on its course."""
        yaw_rad = float(np.arctan2(aim[1], aim[0]))
        folded_rad = (yaw_rad + np.pi / 2) % np.pi - np.pi / 2
        return self._goals.goal(position_m, folded_rad, PushToGoal.start_finger_m)


def _split(hand_from_disc_m: NDArray[np.float64], aim: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """The hand's place seen from the disc: along the push, m, and the vector (2,) beside it, m."""
    along_m = float(hand_from_disc_m @ aim)
    return along_m, hand_from_disc_m - along_m * aim


def _push(aim: NDArray[np.float64], beside_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """The hand's next step, (2,), m: back onto the line through the disc first, forward when it is on it."""
    share = max(0.0, 1.0 - float(np.linalg.norm(beside_m)) / FORWARD_WITHIN_M)
    return FORWARD_M * share * aim - beside_m


def _approach(hand_m: NDArray[np.float64], staging_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """The next point on the way to the staging place: up, across, down."""
    away_m = np.linalg.norm(hand_m[:2] - staging_m)
    if away_m < AT_STAGING_M:
        return np.append(staging_m, PUSH_HEIGHT_M)
    if hand_m[2] < SAFE_HEIGHT_M - 0.03:
        return np.append(hand_m[:2], SAFE_HEIGHT_M)
    return np.append(staging_m, SAFE_HEIGHT_M)
