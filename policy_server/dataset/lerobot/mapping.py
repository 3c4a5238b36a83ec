"""Which numbers of a LeRobot dataset are which of our joints, in which unit, and which pictures are which cameras."""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from policy_server.dataset.lerobot.layout import IMAGES, LeRobotError, LeRobotInfo, UnitError
from policy_server.runtime.recording import CameraShape

# How datasets call the joints of a Franka arm; `--joints fr3` stands for all of these.
FR3 = "fr3"
_FR3_ARM = ("fr3_joint{}", "panda_joint{}", "fer_joint{}", "joint_{}", "joint{}")
_FR3_GRIPPER = ("fr3_finger_joint1", "panda_finger_joint1", "fer_finger_joint1", "gripper", "gripper_position")
FR3_PAIRS = tuple((name.format(i), f"fr3_joint{i}") for i in range(1, 8) for name in _FR3_ARM) + tuple(
    (name, "fr3_finger_joint1") for name in _FR3_GRIPPER
)
# No joint of an arm stands further out than this, and no finger opens wider.
_LARGEST_RAD = 7.0
_LARGEST_FINGER_M = 0.2
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Scale:
    """Our number is ``factor`` times theirs plus ``offset``."""

    factor: float
    offset: float = 0.0


@dataclass(frozen=True)
class JointOptions:
    """How joints are chosen and converted.

    Attributes:
        pairs: (their name, our name), in our order; several of theirs may stand for one of ours. Empty keeps all names.
        scales: our name → how its numbers are converted; takes precedence over ``angle_unit``.
        angle_unit: of every other joint that is no gripper.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    scales: tuple[tuple[str, Scale], ...] = ()
    angle_unit: Literal["rad", "deg"] = "rad"


@dataclass(frozen=True)
class Columns:
    """Our joints as columns of theirs: ``theirs[:, sources] * factors + offsets``. ``checked``: is its unit our guess?"""

    names: tuple[str, ...]
    sources: tuple[int, ...]
    factors: tuple[float, ...]
    offsets: tuple[float, ...]
    checked: tuple[bool, ...]

    def take(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """float (N, theirs) → float32 (N, ours), rad and m."""
        chosen = np.asarray(values, np.float64)[:, self.sources]
        return (chosen * self.factors + self.offsets).astype(np.float32)


def joint_columns(theirs: Sequence[str], options: JointOptions, what: str, *, all_needed: bool) -> Columns:
    """Find our joints among ``theirs``.

    Args:
        what: "state" or "action", for errors.
        all_needed: every joint of ``options`` must be there; else those that are.

    Raises:
        LeRobotError: a joint is missing, or none is there.
    """
    positions = {_plain(name): index for index, name in enumerate(theirs)}
    if len(positions) < len(theirs):
        raise LeRobotError(f"the {what} has several numbers of one name: {', '.join(theirs)}")
    pairs = options.pairs or tuple((name, name) for name in positions)
    found: dict[str, int] = {}
    for source, name in pairs:
        if name not in found and _plain(source) in positions:
            found[name] = positions[_plain(source)]
    missing = [name for _, name in pairs if name not in found]
    if (all_needed and missing) or not found:
        raise LeRobotError(f"the {what} has no joint for '{missing[0]}': {_hint(missing[0], pairs, list(positions))}")
    unusable = [name for name in found if not _NAME.fullmatch(name)]
    if unusable:
        raise LeRobotError(
            f"'{unusable[0]}' of the {what} is no name of a joint: name it by --joints {unusable[0]}=NAME,…"
        )
    scales = dict(options.scales)
    converted = [scales.get(name, _default_scale(name, options.angle_unit)) for name in found]
    return Columns(
        tuple(found),
        tuple(found.values()),
        tuple(scale.factor for scale in converted),
        tuple(scale.offset for scale in converted),
        tuple(name not in scales for name in found),
    )


def check_units(columns: Columns, values: NDArray[np.float32], options: JointOptions, what: str) -> None:
    """Raise UnitError for numbers that can be no radians or metres. ``values`` float32 (N, C) as ``columns.take`` gives them."""
    largest = np.abs(values).max(axis=0)
    for name, number, checked in zip(columns.names, largest, columns.checked, strict=True):
        if not checked:
            continue
        if is_gripper(name) and number > _LARGEST_FINGER_M:
            raise UnitError(
                f"{what}: gripper '{name}' reaches {number:.3g}, which is no finger position in m: give "
                f"--scale {name}=FACTOR[,OFFSET] (0.04 for an opening from 0 to 1, 1 if it is right as it is)"
            )
        if not is_gripper(name) and number > _LARGEST_RAD:
            raise UnitError(
                f"{what}: joint '{name}' reaches {number:.4g} rad, more than a turn: give --angle-unit deg if the dataset "
                f"is in degrees, or --scale {name}=FACTOR[,OFFSET]"
            )
    angles = [not is_gripper(name) and checked for name, checked in zip(columns.names, columns.checked, strict=True)]
    if options.angle_unit == "deg" and any(angles) and largest[angles].max() < math.radians(2 * math.pi):
        raise UnitError(f"{what}: no joint leaves ±2π degrees, so it is in radians already: leave --angle-unit deg out")


def is_gripper(name: str) -> bool:
    return "gripper" in name or "finger" in name


def parse_joints(text: str) -> tuple[tuple[str, str], ...]:
    """``fr3``, or ``theirs=ours,theirs=ours,…`` where ``=ours`` may be left out."""
    if not text:
        return ()
    if text == FR3:
        return FR3_PAIRS
    pairs = [_pair(part) for part in text.split(",")]
    return tuple((theirs, ours or _plain(theirs)) for theirs, ours in pairs)


def parse_scale(text: str) -> tuple[str, Scale]:
    """``name=factor`` or ``name=factor,offset``."""
    name, _, numbers = text.partition("=")
    try:
        factor, *offset = (float(number) for number in numbers.split(","))
        return name, Scale(factor, *offset)
    except (ValueError, TypeError):
        raise LeRobotError(f"--scale '{text}' is not understood: write NAME=FACTOR or NAME=FACTOR,OFFSET") from None


def choose_cameras(info: LeRobotInfo, text: str | None) -> dict[str, CameraShape]:
    """Feature → camera. ``text``: ``theirs[=ours][@WIDTHxHEIGHT],…``; None takes all RGB cameras, ``""`` none.

    Raises:
        LeRobotError: a camera is not there, or its name does not serve as a topic's and a file's.
    """
    pictures = {key: feature for key, feature in info.features.items() if feature.is_picture and not feature.is_depth}
    short = {key.removeprefix(IMAGES): key for key in pictures}
    parts = list(short) if text is None else [part for part in text.split(",") if part]
    chosen: dict[str, CameraShape] = {}
    for part in parts:
        names, _, size = part.partition("@")
        theirs, ours = _pair(names)
        key = short.get(theirs.removeprefix(IMAGES))
        if key is None:
            raise LeRobotError(f"the dataset has no RGB camera '{theirs}': it has {', '.join(short) or 'none'}")
        ours = ours or _plain_camera(theirs)
        height, width = _size(part, size) if size else pictures[key].height_and_width()
        chosen[key] = CameraShape(ours, height, width)
    names_taken = [camera.name for camera in chosen.values()]
    if len(set(names_taken)) < len(parts):
        raise LeRobotError(f"two cameras of one name in '{','.join(parts)}': name each once, by theirs=ours")
    return chosen


def names_of(info: LeRobotInfo, keys: Sequence[str]) -> list[str]:
    """The names of the numbers of these features end to end; numbers without a name are called by their position."""
    names: list[str] = []
    for key in keys:
        feature = info.features.get(key)
        if feature is None or feature.is_picture or len(feature.shape) != 1:
            raise LeRobotError(f"the dataset has no vector '{key}': it has {_vectors(info.features)}")
        if feature.names and len(feature.names) != feature.shape[0]:
            raise LeRobotError(f"'{key}' has {feature.shape[0]} numbers but {len(feature.names)} names")
        names += feature.names or [str(len(names) + i) for i in range(feature.shape[0])]
    return names


def _vectors(features: Mapping[str, object]) -> str:
    return ", ".join(key for key in features if "." in key or key == "action") or "none"


def _default_scale(name: str, angle_unit: str) -> Scale:
    return Scale(math.pi / 180) if angle_unit == "deg" and not is_gripper(name) else Scale(1.0)


def _plain(name: str) -> str:
    """Robots of LeRobot add what a number is of: ``shoulder_pan.pos``."""
    return name.removesuffix(".pos")


def _plain_camera(name: str) -> str:
    plain = name.removeprefix(IMAGES).removeprefix("observation.")
    if not _NAME.fullmatch(plain):
        raise LeRobotError(f"camera '{plain}' cannot be a topic's name: give it one by --cameras {plain}=NAME")
    return plain


def _pair(text: str) -> tuple[str, str]:
    theirs, separator, ours = text.strip().partition("=")
    if separator and not _NAME.fullmatch(ours):
        raise LeRobotError(f"'{text}': '{ours}' is no name; use letters, digits and _, beginning with a letter")
    return theirs, ours


def _size(part: str, text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise LeRobotError(f"camera '{part}': '{text}' is no size; write WIDTHxHEIGHT, as 96x96")
    return int(match[2]), int(match[1])


def _hint(name: str, pairs: Sequence[tuple[str, str]], theirs: list[str]) -> str:
    sought = [source for source, ours in pairs if ours == name]
    near = difflib.get_close_matches(sought[0], theirs, n=1)
    mend = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(theirs)}"
    return f"looked for {', '.join(sought)}; {mend} Say which is which by --joints theirs=ours,…"
