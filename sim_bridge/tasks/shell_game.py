"""``shell_game``: a cup covers the ball, the cups are swapped in view; after "go" touch the cup with the ball."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_bridge.gl_backend import mujoco
from sim_bridge.reach import HandGoals, above, step_towards
from sim_bridge.shift import AS_BUILT, Shift
from sim_bridge.simulation import Simulation
from sim_bridge.tasks import lamp
from sim_bridge.tasks.choice import Choice
from sim_bridge.tasks.features import HAND, LAMP, as_features, hand, shown_colour
from sim_bridge.tasks.task import Expert, Outcome, failed, succeeded
from sim_bridge.world import World

CUPS = 3
CUP_RADIUS_M = 0.035
CUP_HALF_HEIGHT_M = 0.04
BALL_RADIUS_M = 0.022
SLOTS_M = np.array([(0.49, -0.20), (0.49, 0.0), (0.49, 0.20)])
JITTER_M = np.array([0.01, 0.02])
LAMP_M = (0.70, 0.0)
COLOURS = {"ball": (0.95, 0.15, 0.1), "cup": (0.2, 0.45, 0.8), "go": lamp.WHITE}
UNSEEN_BALL_M = (0.49, 0.0)
"""Stands for the ball's place among the features while a cup covers it: one fixed place, which says nothing."""

SHOW_TICKS = (5, 10)
COVER_TICKS = 5
PAUSE_TICKS = 3
SWAPS = (2, 4)
SWAP_TICKS = 10
ANSWER_TICKS = 40
LIFT_M = 0.13
NEIGHBOUR_DETOUR_M = 0.06
OUTER_DETOUR_M = 0.095

GOAL_ABOVE_TOP_M = 0.015


@dataclass(frozen=True)
class Episode:
    """What is drawn for one episode.

    ``slots_m``: (3, 2), places on the table. ``ball_cup``: cup, named after the slot where it starts, with the ball.
    ``swaps``: pairs of slots whose cups change places, in order; the first of a pair passes on the robot's side.
    """

    slots_m: NDArray[np.float64]
    ball_cup: int
    cover_tick: int
    swaps: tuple[tuple[int, int], ...]

    @property
    def first_swap_tick(self) -> int:
        return self.cover_tick + COVER_TICKS + PAUSE_TICKS

    @property
    def go_tick(self) -> int:
        return self.first_swap_tick + len(self.swaps) * SWAP_TICKS + PAUSE_TICKS


class ShellGame:
    """Three like cups; the first that the hand touches after go decides."""

    name = "shell_game"
    description = "touch the cup that hides the ball after the cups were swapped"
    memory = "tracking"
    local_stability = "stable"
    chance = 1 / CUPS
    horizon_ticks = SHOW_TICKS[1] + COVER_TICKS + 2 * PAUSE_TICKS + SWAPS[1] * SWAP_TICKS + ANSWER_TICKS
    start_finger_m = 0.0
    feature_names: tuple[str, ...] = (
        *HAND,
        *LAMP,
        *(f"cup_{place}_{axis}_m" for place in ("right", "middle", "left") for axis in "xyz"),
        *("ball_visible", "ball_x_m", "ball_y_m"),
    )

    def __init__(self, shift: Shift = AS_BUILT) -> None:
        """Raises ShiftError."""
        shift.meanings(())
        self.shift = shift
        self._colours = shift.recoloured(COLOURS)
        self._cup_radius_m = CUP_RADIUS_M * shift.object_scale
        self.cup_half_height_m = CUP_HALF_HEIGHT_M * shift.object_scale
        self._ball_radius_m = BALL_RADIUS_M * shift.object_scale
        self._goals = HandGoals(shift.table_m)
        self._tick = 0

    def build(self, spec: mujoco.MjSpec) -> None:
        lamp.add_lamp(spec, LAMP_M)
        ball = spec.worldbody.add_body(name="ball", mocap=True)
        ball.add_geom(
            type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[self._ball_radius_m, 0, 0], rgba=[*self._colours["ball"], 1],
            contype=0, conaffinity=0,
        )  # fmt: skip
        for cup in range(CUPS):
            body = spec.worldbody.add_body(name=f"cup_{cup}", mocap=True)
            body.add_geom(
                type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[self._cup_radius_m, self.cup_half_height_m, 0],
                rgba=[*self._colours["cup"], 1],
            )  # fmt: skip

    def reset(self, simulation: Simulation, rng: np.random.Generator) -> None:
        self.episode = draw_episode(rng)
        self._choice = Choice(self._judge)
        self._show(simulation, 0)

    def tick(self, simulation: Simulation, tick: int) -> None:
        self._show(simulation, tick)

    def check(self, simulation: Simulation) -> Outcome:
        return self._choice.check(simulation.hand_position(), self._tops_m, self.may_go)

    def features(self, simulation: Simulation) -> NDArray[np.float32]:
        """Cups from the robot's right to its left, whichever they are. A covered ball is stated at ``UNSEEN_BALL_M``."""
        data = simulation.data
        cups_m = np.stack([data.mocap_pos[simulation.mocap_id(f"cup_{cup}")] for cup in range(CUPS)])
        cups_m = cups_m[np.lexsort((cups_m[:, 0], cups_m[:, 1]))]
        ball_m = data.mocap_pos[simulation.mocap_id("ball"), :2]
        is_over = np.hypot(*(cups_m[:, :2] - ball_m).T) < self._cup_radius_m
        is_covered = is_over & (cups_m[:, 2] <= self.cup_half_height_m)
        ball = [0.0, *UNSEEN_BALL_M] if is_covered.any() else [1.0, *ball_m]
        return as_features(hand(simulation), shown_colour(simulation), simulation.in_base(cups_m), ball)

    def expert(self, knows: bool, rng: np.random.Generator) -> Expert:
        cup = self.episode.ball_cup if knows else int(rng.integers(CUPS))
        return ShellGameExpert(self, self._goals, cup)

    @property
    def may_go(self) -> bool:
        return self._tick >= self.episode.go_tick

    def _show(self, simulation: Simulation, tick: int) -> None:
        self._tick = tick
        places_m = cup_places(self.episode, tick, self.cup_half_height_m)
        self._tops_m = above(places_m, self.cup_half_height_m)
        ball_cup = self.episode.ball_cup
        # Where no cup hides it the ball lies on the table; then it goes with its cup and no pixel of it is seen.
        simulation.place_mocap("ball", np.append(places_m[ball_cup, :2], self._ball_radius_m))
        for cup, place_m in enumerate(places_m):
            simulation.place_mocap(f"cup_{cup}", place_m)
        lamp.show(simulation, self._colours["go"] if self.may_go else lamp.DARK)

    def _judge(self, touched: int) -> Outcome:
        if touched == self.episode.ball_cup:
            return succeeded("touched the cup with the ball")
        return failed("touched an empty cup")


class ShellGameExpert:
    """Waits at the start and then goes to the cup that it believes hides the ball."""

    def __init__(self, task: ShellGame, goals: HandGoals, cup: int) -> None:
        self._task = task
        place_m = cup_places(task.episode, task.episode.go_tick, task.cup_half_height_m)[cup]
        top_m = above(place_m, task.cup_half_height_m + GOAL_ABOVE_TOP_M)
        self._goal = goals.goal(top_m, 0.0, ShellGame.start_finger_m)
        self._hold: NDArray[np.float64] | None = None

    def action(self, world: World, set_point: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._hold is None:
            self._hold = set_point.copy()
        return step_towards(set_point, self._goal if self._task.may_go else self._hold)


def draw_episode(rng: np.random.Generator) -> Episode:
    slots_m = SLOTS_M + rng.uniform(-1, 1, SLOTS_M.shape) * JITTER_M
    pairs = [rng.choice(CUPS, 2, replace=False) for _ in range(rng.integers(SWAPS[0], SWAPS[1] + 1))]
    swaps = tuple((int(first), int(second)) for first, second in pairs)
    return Episode(slots_m, int(rng.integers(CUPS)), int(rng.integers(SHOW_TICKS[0], SHOW_TICKS[1] + 1)), swaps)


def cup_places(episode: Episode, tick: int, half_height_m: float = CUP_HALF_HEIGHT_M) -> NDArray[np.float64]:
    """Centre of each cup at a tick, float64 (3, 3), m, rows by cup."""
    slot_of_cup = list(range(CUPS))
    places_m = np.column_stack([episode.slots_m, np.full(CUPS, half_height_m)])
    done, under_way = divmod(max(0, tick - episode.first_swap_tick), SWAP_TICKS)
    for pair in episode.swaps[:done]:
        slot_of_cup = [_partner(slot, pair) for slot in slot_of_cup]
    cup_places_m = places_m[slot_of_cup]
    if done < len(episode.swaps):
        pair = episode.swaps[done]
        for cup, slot in enumerate(slot_of_cup):
            if slot in pair:
                cup_places_m[cup, :2] = _on_the_way(episode, slot, pair, under_way / SWAP_TICKS)
    cup_places_m[episode.ball_cup, 2] += LIFT_M * _lifted_share(episode, tick)
    return cup_places_m


def _lifted_share(episode: Episode, tick: int) -> float:
    return float(np.clip(1.0 - (tick - episode.cover_tick) / COVER_TICKS, 0.0, 1.0))


def _partner(slot: int, pair: tuple[int, int]) -> int:
    return pair[1 - pair.index(slot)] if slot in pair else slot


def _on_the_way(episode: Episode, slot: int, pair: tuple[int, int], share: float) -> NDArray[np.float64]:
    """Half an ellipse from a slot to its partner's: one cup passes in front of the other."""
    start_m, end_m = episode.slots_m[slot], episode.slots_m[_partner(slot, pair)]
    detour_m = NEIGHBOUR_DETOUR_M if abs(pair[0] - pair[1]) == 1 else OUTER_DETOUR_M
    side = -1.0 if slot == pair[0] else 1.0
    angle = np.pi * share
    along = start_m + (end_m - start_m) * (1 - np.cos(angle)) / 2
    return along + np.array([side * detour_m * np.sin(angle), 0.0])
