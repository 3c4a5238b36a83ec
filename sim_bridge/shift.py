"""Shifts: a world that differs from the one a policy was trained in, so that there is something to adapt to.

``config/shifts/<name>.yaml`` says what is different. The world and the task read it when they are made; nothing that is drawn
for an episode depends on it, so an episode's seed means the same layout and the same cue with and without the shift.
"""

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from policy_server.runtime import configuration
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.resources import resource

FOLDER = "config/shifts"
Colour = tuple[float, float, float]
Point = tuple[float, float, float]


class ShiftError(ConfigurationError):
    """A shift that is unknown, changes nothing of a task, or names what the task does not have."""


@dataclass(frozen=True)
class CameraPose:
    """Where a camera of the room stands and what it looks at, (3,), m, base frame."""

    eye_m: Point
    target_m: Point


@dataclass(frozen=True)
class TaskShift:
    """What a shift changes of one task alone; see ``Shift``."""

    colours: dict[str, Colour] = field(default_factory=dict)
    cue_code: dict[int | str, int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Shift:
    """What is different for one task.

    Attributes:
        name: of the file; empty for the world as it is built.
        table_m: height of the table's top above the foot of the arm, negative when it is lower; all objects stand on it.
        object_scale: factor on the size of the objects that the task is about; the distances between them stay.
        cameras: poses of cameras of the room that have moved, by name.
        colours: RGB, 0..1, by the names that the task gives its colours.
        cue_code: what the lamp shows → what that means now, in the task's words.
    """

    name: str = ""
    table_m: float = 0.0
    object_scale: float = 1.0
    cameras: dict[str, CameraPose] = field(default_factory=dict)
    colours: dict[str, Colour] = field(default_factory=dict)
    cue_code: dict[str, str] = field(default_factory=dict)

    def recoloured(self, colours: Mapping[str, Colour]) -> dict[str, Colour]:
        """A task's ``colours`` with the shift's in their place. Raises ShiftError for one that the task does not have."""
        _require_known(self.name, "colours", self.colours, colours)
        return {**colours, **self.colours}

    def meanings(self, shown: Iterable[str]) -> dict[str, str]:
        """Each thing that the task's lamp can show → what it means. Raises ShiftError for a code of other things."""
        known = tuple(shown)
        _require_known(self.name, "cue_code", self.cue_code, known)
        return {cue: self.cue_code.get(cue, cue) for cue in known}


AS_BUILT = Shift()


@dataclass(frozen=True)
class ShiftFile:
    """``config/shifts/<name>.yaml``: what changes for every task, and under ``tasks`` what changes for one."""

    name: str
    description: str
    table_m: float = 0.0
    object_scale: float = 1.0
    cameras: dict[str, CameraPose] = field(default_factory=dict)
    tasks: dict[str, TaskShift] = field(default_factory=dict)

    def concerns(self, task: str) -> bool:
        """Whether it changes anything of a task."""
        return bool(self.table_m or self.object_scale != 1.0 or self.cameras or task in self.tasks)


def shift_names() -> tuple[str, ...]:
    """The shifts that there are, sorted."""
    return tuple(sorted(file.stem for file in resource(FOLDER).glob("*.yaml")))


def read_shift(name: str) -> ShiftFile:
    """Raises ShiftError for a name without a file, ConfigurationError for a file that cannot be."""
    known = shift_names()
    if name not in known:
        raise ShiftError(f"shift '{name}' is unknown; {_mend(name, known)}")
    file = resource(f"{FOLDER}/{name}.yaml")
    shift = configuration.load(ShiftFile, file)
    if shift.name != name:
        raise ShiftError(f"'{file}' names its shift '{shift.name}': call it '{name}', as the file")
    if not 0.5 <= shift.object_scale <= 2.0:
        raise ShiftError(f"'{file}': object_scale={shift.object_scale}: give 0.5 to 2")
    return shift


def load_shift(name: str, task: str) -> Shift:
    """What the shift ``name`` changes for a task; an empty name is the world as it is built.

    Raises:
        ShiftError: there is no such shift, or it changes nothing of this task.
    """
    if not name:
        return AS_BUILT
    file = read_shift(name)
    if not file.concerns(task):
        concerned = ", ".join(file.tasks) or "no task"
        raise ShiftError(f"shift '{name}' changes nothing of task '{task}', only of {concerned}: choose another")
    own = file.tasks.get(task, TaskShift())
    code = {str(shown): str(meant) for shown, meant in own.cue_code.items()}
    return Shift(file.name, file.table_m, file.object_scale, file.cameras, own.colours, code)


def add_shift_option(parser: argparse.ArgumentParser, or_all: bool = False) -> None:
    """The option ``--shift`` of every command that makes a world."""
    names = ", ".join((*shift_names(), "all") if or_all else shift_names())
    parser.add_argument(
        "--shift", default="", metavar="NAME", help=f"a shifted world: {names} (default: as it is built)"
    )


def _require_known(shift: str, what: str, given: Iterable[str], known: Iterable[str]) -> None:
    known = tuple(known)
    for name in given:
        if name not in known:
            raise ShiftError(f"shift '{shift}': {what}: the task has no '{name}'; {_mend(name, known)}")


def _mend(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known := list(known), n=1)
    return f"did you mean '{near[0]}'?" if near else f"choose one of {', '.join(known) or 'none'}"
