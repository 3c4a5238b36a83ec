"""Tasks by name."""

from collections.abc import Callable

from policy_server.runtime.errors import PolicyError
from sim_bridge.shift import AS_BUILT, Shift
from sim_bridge.tasks.grasp_and_return import GraspAndReturn
from sim_bridge.tasks.pick_and_place import PickAndPlace
from sim_bridge.tasks.press_count import PressCount
from sim_bridge.tasks.push_to_goal import PushToGoal
from sim_bridge.tasks.reach_cued import ReachCued
from sim_bridge.tasks.shell_game import ShellGame
from sim_bridge.tasks.task import Task

TASKS: dict[str, Callable[[Shift], Task]] = {
    "reach_cued": ReachCued,
    "press_count": PressCount,
    "push_to_goal": PushToGoal,
    "pick_and_place": PickAndPlace,
    "shell_game": ShellGame,
    "grasp_and_return": GraspAndReturn,
}


class UnknownTaskError(PolicyError):
    """A task name that is not in the registry."""


def task_by_name(name: str, shift: Shift = AS_BUILT) -> Task:
    """A new instance. Raises ``UnknownTaskError``, which lists the known names, and ``ShiftError``."""
    if name not in TASKS:
        raise UnknownTaskError(f"task '{name}' is unknown; choose one of {', '.join(TASKS)}")
    return TASKS[name](shift)
