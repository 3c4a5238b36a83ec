"""``press_count``: the lamp flashes one to four times; after "go" press the button as often, then go back."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sim_bridge.gl_backend import mujoco
from sim_bridge.reach import HandGoals, above, step_towards
from sim_bridge.shift import AS_BUILT, Shift, ShiftError
from sim_bridge.simulation import Simulation
from sim_bridge.tasks import lamp
from sim_bridge.tasks.features import HAND, LAMP, as_features, hand, shown_colour
from sim_bridge.tasks.task import RUNNING, Expert, Outcome, failed, succeeded
from sim_bridge.world import World

MOST_FLASHES = 4
LAMP_M = (0.70, 0.0)
BUTTON_CENTRE_M = (0.50, 0.0)
BUTTON_JITTER_M = (0.05, 0.14)
COLOURS = {"flash": (1.0, 0.75, 0.1), "go": (0.1, 0.9, 0.2), "cap": (0.9, 0.2, 0.6)}
COUNTS = tuple(str(count) for count in range(1, MOST_FLASHES + 1))
"""What the lamp can show."""

OFF_TICKS = (4, 9)
FLASH_ON_TICKS = 3
FLASH_OFF_TICKS = 4
DARK_TICKS = (10, 20)
ANSWER_TICKS = 90

RIM_RADIUS_M = 0.055
CAP_RADIUS_M = 0.035
CAP_TOP_M = 0.050
TRAVEL_M = 0.015
PRESSED_M = 0.010
RELEASED_M = 0.004

HOME_ZONE_M = 0.10
HOME_TICKS = 3
HOVER_M = 0.035
PUSH_M = -0.016
ALIGNED_M = 0.02
PRESS_GAIN = 0.45


@dataclass(frozen=True)
class Episode:
    """What is drawn for one episode. ``button_m``: (2,), on the table; ``flashes``: how often the lamp flashes."""

    button_m: NDArray[np.float64]
    flashes: int
    first_flash_tick: int
    go_tick: int


@dataclass
class Progress:
    """What the arm has done so far."""

    tick: int = 0
    presses: int = 0
    is_down: bool = False
    ticks_home: int = 0
    start_m: NDArray[np.float64] | None = field(default=None)


class PressCount:
    """A spring-loaded button; a press counts when the cap goes down, and again only after it has come up."""

    name = "press_count"
    description = "press the button as often as the lamp flashed, then return"
    memory = "count"
    local_stability = "stable"
    chance = 1 / MOST_FLASHES
    horizon_ticks = OFF_TICKS[1] + MOST_FLASHES * (FLASH_ON_TICKS + FLASH_OFF_TICKS) + DARK_TICKS[1] + ANSWER_TICKS
    start_finger_m = 0.0
    feature_names: tuple[str, ...] = (*HAND, *LAMP, "button_x_m", "button_y_m", "button_depth_m")

    def __init__(self, shift: Shift = AS_BUILT) -> None:
        """Raises ShiftError; a cue code must ask for one press or more."""
        self.shift = shift
        self._colours = shift.recoloured(COLOURS)
        self._asked_for = _asked_for(shift)
        self.cap_top_m = CAP_TOP_M * shift.object_scale
        self._goals = HandGoals(shift.table_m)

    def build(self, spec: mujoco.MjSpec) -> None:
        lamp.add_lamp(spec, LAMP_M)
        _add_button(spec, self.shift.object_scale, self._colours["cap"])

    def reset(self, simulation: Simulation, rng: np.random.Generator) -> None:
        self.episode = draw_episode(rng)
        self.progress = Progress()
        simulation.place_mocap("button", np.append(self.episode.button_m, 0.0))
        lamp.show(simulation, self.lamp_colour())

    def tick(self, simulation: Simulation, tick: int) -> None:
        self.progress.tick = tick
        self._count_ticks_home(simulation.hand_position())
        lamp.show(simulation, self.lamp_colour())

    def check(self, simulation: Simulation) -> Outcome:
        progress, hand_m = self.progress, simulation.hand_position()
        if progress.start_m is None:
            progress.start_m = hand_m
        self._watch_button(button_depth_m(simulation))
        if not self.may_go:
            left = np.linalg.norm(hand_m - progress.start_m) > HOME_ZONE_M
            return failed("the hand left before the lamp turned green") if left or progress.presses else RUNNING
        if progress.presses > self.asked:
            return failed(f"pressed {progress.presses} times, {self.asked} were asked")
        return self._judge_return()

    def features(self, simulation: Simulation) -> NDArray[np.float32]:
        button_m = simulation.data.mocap_pos[simulation.mocap_id("button"), :2]
        colour = shown_colour(simulation)
        return as_features(hand(simulation), colour, button_m, button_depth_m(simulation))

    def expert(self, knows: bool, rng: np.random.Generator) -> Expert:
        count = self.asked if knows else self._asked_for[int(rng.integers(1, MOST_FLASHES + 1))]
        return PressCountExpert(self, self._goals, count)

    @property
    def asked(self) -> int:
        """How often the button is to be pressed."""
        return self._asked_for[self.episode.flashes]

    @property
    def may_go(self) -> bool:
        return self.progress.tick >= self.episode.go_tick

    def lamp_colour(self) -> tuple[float, float, float]:
        if self.may_go:
            return self._colours["go"]
        since_first = self.progress.tick - self.episode.first_flash_tick
        flash, phase = divmod(since_first, FLASH_ON_TICKS + FLASH_OFF_TICKS)
        return self._colours["flash"] if 0 <= flash < self.episode.flashes and phase < FLASH_ON_TICKS else lamp.DARK

    def _watch_button(self, depth_m: float) -> None:
        progress = self.progress
        if not progress.is_down and depth_m > PRESSED_M:
            progress.is_down, progress.presses = True, progress.presses + 1
        elif progress.is_down and depth_m < RELEASED_M:
            progress.is_down = False

    def _count_ticks_home(self, hand_m: NDArray[np.float64]) -> None:
        progress = self.progress
        is_home = progress.start_m is not None and np.linalg.norm(hand_m - progress.start_m) < HOME_ZONE_M
        progress.ticks_home = progress.ticks_home + 1 if is_home and progress.presses else 0

    def _judge_return(self) -> Outcome:
        presses, asked = self.progress.presses, self.asked
        if self.progress.ticks_home < HOME_TICKS:
            return RUNNING
        judge = succeeded if presses == asked else failed
        return judge(f"pressed {presses} times, {asked} were asked")


class PressCountExpert:
    """Down when the button is up and presses are owed, up when it is down, home when none is owed."""

    def __init__(self, task: PressCount, goals: HandGoals, count: int) -> None:
        self._task = task
        self._count = count
        top_m = np.append(task.episode.button_m, task.cap_top_m)
        self._hover = goals.goal(above(top_m, HOVER_M), 0.0, 0.0)
        self._push = goals.goal(above(top_m, PUSH_M), 0.0, 0.0)
        self._hold: NDArray[np.float64] | None = None

    def action(self, world: World, set_point: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._hold is None:
            self._hold = set_point.copy()
        progress = self._task.progress
        if not self._task.may_go or (progress.presses >= self._count and not progress.is_down):
            return step_towards(set_point, self._hold)
        aside_m = np.linalg.norm(world.hand_position()[:2] - self._task.episode.button_m)
        if progress.is_down or aside_m > ALIGNED_M:
            return step_towards(set_point, self._hover, gain=PRESS_GAIN)
        return step_towards(set_point, self._push, gain=PRESS_GAIN)


def _asked_for(shift: Shift) -> dict[int, int]:
    """How often the lamp flashes → how often the button is to be pressed."""
    meanings = shift.meanings(COUNTS)
    if not all(meant.isdecimal() and int(meant) > 0 for meant in meanings.values()):
        raise ShiftError(f"shift '{shift.name}': cue_code={shift.cue_code}: let a count mean a count of 1 or more")
    return {int(shown): int(meant) for shown, meant in meanings.items()}


def button_depth_m(simulation: Simulation) -> float:
    """How far the cap is pressed down; 0 when it is up."""
    return -float(simulation.data.joint("button_cap").qpos[0])


def draw_episode(rng: np.random.Generator) -> Episode:
    button_m = np.array(BUTTON_CENTRE_M) + rng.uniform(-1, 1, 2) * BUTTON_JITTER_M
    flashes = int(rng.integers(1, MOST_FLASHES + 1))
    first_flash_tick = int(rng.integers(OFF_TICKS[0], OFF_TICKS[1] + 1))
    last_dark_tick = first_flash_tick + flashes * (FLASH_ON_TICKS + FLASH_OFF_TICKS)
    go_tick = last_dark_tick + int(rng.integers(DARK_TICKS[0], DARK_TICKS[1] + 1))
    return Episode(button_m, flashes, first_flash_tick, go_tick)


def _add_button(spec: mujoco.MjSpec, scale: float, cap_colour: tuple[float, float, float]) -> None:
    """A fixed ring with a cap on a spring: the cap carries the body's one joint, 0 when up, negative when pressed.

    ``scale``: of its size; the cap's way down stays.
    """
    top_m = CAP_TOP_M * scale
    button = spec.worldbody.add_body(name="button", mocap=True)
    rim_half_m = (top_m - TRAVEL_M) / 2
    button.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[RIM_RADIUS_M * scale, rim_half_m, 0], pos=[0, 0, rim_half_m],
        rgba=[0.2, 0.2, 0.22, 1],
    )  # fmt: skip
    cap = button.add_body(name="button_cap")
    cap.add_joint(
        name="button_cap", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[0, 0, 1], range=[-TRAVEL_M, 0],
        limited=mujoco.mjtLimited.mjLIMITED_TRUE, stiffness=[300, 0, 0], damping=[6, 0, 0], springref=0.002,
        armature=0.05,
    )  # fmt: skip
    cap.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[CAP_RADIUS_M * scale, 0.01, 0], pos=[0, 0, top_m - 0.01],
        rgba=[*cap_colour, 1], mass=0.05,
    )  # fmt: skip
    spec.add_exclude(bodyname1="button", bodyname2="button_cap")
