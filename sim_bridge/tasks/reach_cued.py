"""``reach_cued``: the lamp shows a colour, goes dark, then turns white; bring the hand to the cube of that colour."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_bridge.gl_backend import mujoco
from sim_bridge.reach import HandGoals, above, step_towards
from sim_bridge.shift import AS_BUILT, Shift, ShiftError
from sim_bridge.simulation import Simulation
from sim_bridge.tasks import lamp
from sim_bridge.tasks.choice import Choice
from sim_bridge.tasks.features import HAND, LAMP, as_features, hand, shown_colour
from sim_bridge.tasks.task import Expert, Outcome, failed, succeeded
from sim_bridge.world import World

COLOURS = {"red": (0.90, 0.10, 0.08), "green": (0.10, 0.75, 0.15), "blue": (0.12, 0.25, 0.95)}
NAMES = tuple(COLOURS)
CUBE_HALF_M = 0.025
SLOTS_M = ((0.48, -0.22), (0.54, 0.0), (0.48, 0.22))
JITTER_M = 0.03
LAMP_M = (0.70, 0.0)

OFF_TICKS = (3, 8)
CUE_TICKS = 10
DARK_TICKS = (10, 30)
ANSWER_TICKS = 40

GOAL_ABOVE_TOP_M = 0.015


@dataclass(frozen=True)
class Episode:
    """What is drawn for one episode.

    ``cubes_m``: centre of each cube's top, float64 (3, 3), in the order of NAMES; ``cue``: which of them is asked for.
    """

    cubes_m: NDArray[np.float64]
    cue: int
    cue_tick: int
    dark_tick: int
    go_tick: int


class ReachCued:
    """Three cubes, one cue, one choice; the first cube that the hand comes to decides."""

    name = "reach_cued"
    description = "reach for the cube whose colour the lamp showed before it went dark"
    memory = "seconds"
    local_stability = "stable"
    chance = 1 / 3
    horizon_ticks = OFF_TICKS[1] + CUE_TICKS + DARK_TICKS[1] + ANSWER_TICKS
    start_finger_m = 0.0
    feature_names: tuple[str, ...] = (
        *HAND,
        *LAMP,
        *(f"cube_{name}_{axis}_m" for name in NAMES for axis in "xy"),
    )

    def __init__(self, shift: Shift = AS_BUILT) -> None:
        """Raises ShiftError; a cue code must let each cube be asked for."""
        self.shift = shift
        self._colours = shift.recoloured(COLOURS)
        self._shown = _shown_for(shift)
        self._cube_half_m = CUBE_HALF_M * shift.object_scale
        self._goals = HandGoals(shift.table_m)
        self._tick = 0

    def build(self, spec: mujoco.MjSpec) -> None:
        lamp.add_lamp(spec, LAMP_M)
        for name, colour in self._colours.items():
            body = spec.worldbody.add_body(name=f"cube_{name}", mocap=True, pos=[0.5, 0, self._cube_half_m])
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=[self._cube_half_m] * 3, rgba=[*colour, 1.0])

    def reset(self, simulation: Simulation, rng: np.random.Generator) -> None:
        self.episode = draw_episode(rng, self._cube_half_m)
        self._choice = Choice(self._judge)
        self._tick = 0
        for name, top_m in zip(NAMES, self.episode.cubes_m, strict=True):
            simulation.place_mocap(f"cube_{name}", above(top_m, -self._cube_half_m))
        lamp.show(simulation, self.lamp_colour())

    def tick(self, simulation: Simulation, tick: int) -> None:
        self._tick = tick
        lamp.show(simulation, self.lamp_colour())

    def check(self, simulation: Simulation) -> Outcome:
        tops_m = self.episode.cubes_m
        return self._choice.check(simulation.hand_position(), tops_m, self.may_go)

    def features(self, simulation: Simulation) -> NDArray[np.float32]:
        cubes_m = [simulation.data.mocap_pos[simulation.mocap_id(f"cube_{name}"), :2] for name in NAMES]
        return as_features(hand(simulation), shown_colour(simulation), *cubes_m)

    def expert(self, knows: bool, rng: np.random.Generator) -> Expert:
        cue = self.episode.cue if knows else int(rng.integers(len(NAMES)))
        return ReachCuedExpert(self, self._goals, cue)

    @property
    def may_go(self) -> bool:
        return self._tick >= self.episode.go_tick

    def lamp_colour(self) -> tuple[float, float, float]:
        if self.may_go:
            return lamp.WHITE
        shown = self.episode.cue_tick <= self._tick < self.episode.dark_tick
        return self._colours[self._shown[NAMES[self.episode.cue]]] if shown else lamp.DARK

    def _judge(self, reached: int) -> Outcome:
        asked = self.episode.cue
        if reached == asked:
            return succeeded(f"reached the {NAMES[asked]} cube")
        return failed(f"reached the {NAMES[reached]} cube, {NAMES[asked]} was asked")


class ReachCuedExpert:
    """Waits at the start and then goes straight to the cube that it believes was asked."""

    def __init__(self, task: ReachCued, goals: HandGoals, cue: int) -> None:
        self._task = task
        top_m = task.episode.cubes_m[cue]
        self._goal = goals.goal(above(top_m, GOAL_ABOVE_TOP_M), 0.0, ReachCued.start_finger_m)
        self._hold: NDArray[np.float64] | None = None

    def action(self, world: World, set_point: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._hold is None:
            self._hold = set_point.copy()
        return step_towards(set_point, self._goal if self._task.may_go else self._hold)


def _shown_for(shift: Shift) -> dict[str, str]:
    """Each cube → the colour that the lamp shows when it is asked for."""
    shown = {meant: colour for colour, meant in shift.meanings(NAMES).items()}
    if set(shown) != set(NAMES):
        raise ShiftError(
            f"shift '{shift.name}': cue_code={shift.cue_code}: let each of {', '.join(NAMES)} mean another cube"
        )
    return shown


def draw_episode(rng: np.random.Generator, cube_half_m: float = CUBE_HALF_M) -> Episode:
    slots = np.array(SLOTS_M)[rng.permutation(len(SLOTS_M))]
    centres = slots + rng.uniform(-JITTER_M, JITTER_M, slots.shape)
    cue_tick = int(rng.integers(OFF_TICKS[0], OFF_TICKS[1] + 1))
    dark_tick = cue_tick + CUE_TICKS
    go_tick = dark_tick + int(rng.integers(DARK_TICKS[0], DARK_TICKS[1] + 1))
    tops_m = np.column_stack([centres, np.full(len(slots), 2 * cube_half_m)])
    return Episode(tops_m, int(rng.integers(len(NAMES))), cue_tick, dark_tick, go_tick)
