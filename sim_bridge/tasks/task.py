"""What a task is: objects on the table, a course of events, a rule for success, and an expert that solves it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from sim_bridge.gl_backend import mujoco
from sim_bridge.shift import Shift
from sim_bridge.simulation import Simulation

if TYPE_CHECKING:
    from sim_bridge.world import World

TICK_HZ = 10.0
PHYSICS_STEP_NS = 2_000_000
STEPS_PER_TICK = 50


@dataclass(frozen=True)
class Outcome:
    """Whether the episode has ended, how, and why in a few words. ``reason`` is empty while it runs."""

    done: bool = False
    success: bool = False
    reason: str = ""


RUNNING = Outcome()


def succeeded(reason: str) -> Outcome:
    return Outcome(True, True, reason)


def failed(reason: str) -> Outcome:
    return Outcome(True, False, reason)


class Expert(Protocol):
    """Solves one episode. A feedback law on the commanded set-point and the task's state, so it recovers from noise."""

    def action(self, world: "World", set_point: NDArray[np.float64]) -> NDArray[np.float64]:
        """Joint target for the next tick, float64 (8,), rad and m, from the current set-point (8,)."""
        ...


class Task(Protocol):
    """A task owns the state of its episode; ``World`` calls it and holds the outcome.

    Attributes:
        name: as given on command lines.
        description: one line for people.
        memory: what must be remembered: ``none``, ``seconds`` (a cue), ``count``, ``tracking`` or ``place``.
        local_stability: ``stable`` or ``unstable``: whether small errors of the arm die out or grow.
        chance: success rate of an expert that guesses what must be remembered; 1.0 without memory.
        horizon_ticks: the longest episode.
        start_finger_m: finger position at the start.
        feature_names: what ``features`` gives, each name unique, with its unit.
        shift: what is different from the world as it is built.
    """

    name: str
    description: str
    memory: str
    local_stability: str
    chance: float
    horizon_ticks: int
    start_finger_m: float
    feature_names: tuple[str, ...]
    shift: Shift

    def build(self, spec: mujoco.MjSpec) -> None:
        """Adds the task's bodies to the scene; called once."""
        ...

    def reset(self, simulation: Simulation, rng: np.random.Generator) -> None:
        """Draws a new episode, places the objects and shows the first moment. Kinematics are not yet computed."""
        ...

    def tick(self, simulation: Simulation, tick: int) -> None:
        """Advances the course of events to policy tick ``tick`` (1, 2, ... since the reset)."""
        ...

    def check(self, simulation: Simulation) -> Outcome:
        """Judges the current moment; called every few physics steps, and not after the episode has ended."""
        ...

    def features(self, simulation: Simulation) -> NDArray[np.float32]:
        """What a perfect camera would see now, float32 (F,), base frame; see ``sim_bridge.tasks.features``.

        Nothing that is hidden: two episodes that look alike at this moment give equal features.
        """
        ...

    def expert(self, knows: bool, rng: np.random.Generator) -> Expert:
        """The expert for the current episode (make it after the reset). Without ``knows`` it guesses what was shown.

        ``rng`` draws the guess: of another stream than the world's, or the guess follows from the layout.
        """
        ...
