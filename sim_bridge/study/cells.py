"""The cells of a study: every combination that a grid asks for, with all that decides its result, and a hash of that."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from policy_server.runtime.configuration import to_plain
from policy_server.runtime.errors import ConfigurationError
from sim_bridge.study.configuration import AXES, DEFAULTS, EvaluationConfig, StudyConfig

_WITHOUT_EFFECT = ("threads", "checkpoint_every")
_REGIME = re.compile(r"^(?P<times>\d*)N(/(?P<divisor>[1-9]\d*))?$")


@dataclass(frozen=True)
class Cell:
    """One policy to train and to evaluate.

    Attributes:
        demonstrations: how many it learns from; ``regime`` is what the grid called that, such as ``N/2``.
        training: the training configuration but for ``name`` and ``output``, as its YAML will say it.
        stages: settings of ``policy_server.train_stages`` but for ``training``; empty: trained by ``policy_server.train``.
    """

    task: str
    context_length: int
    demonstrations: int
    regime: str
    method: str
    backbone: str
    seed: int
    training: dict[str, Any]
    stages: dict[str, Any]
    evaluation: EvaluationConfig

    @cached_property
    def hash(self) -> str:
        """Of everything that the study's configuration says about the result, 12 hexadecimal digits."""
        training = {key: value for key, value in self.training.items() if key not in _WITHOUT_EFFECT}
        content = {
            "task": self.task,
            "training": training,
            "stages": self.stages,
            "evaluation": asdict(self.evaluation),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def id(self) -> str:
        """For people first, and unique: the name of the cell's folder."""
        parts = (self.task, f"c{self.context_length}", f"d{self.demonstrations}", self.method, self.backbone)
        return "-".join((*parts, f"s{self.seed}", self.hash[:8]))


def expand(config: StudyConfig) -> list[Cell]:
    """All cells, in the order of the grids; one that several grids ask for comes once, where it is asked for first."""
    cells: dict[str, Cell] = {}
    for grid in config.grids:
        for choice in _product(grid):
            cell = make_cell(config, choice)
            cells.setdefault(cell.hash, cell)
    return list(cells.values())


def make_cell(config: StudyConfig, choice: Mapping[str, Any]) -> Cell:
    """The cell of one value per axis."""
    task, method = config.tasks[choice["task"]], config.methods[choice["method"]]
    demonstrations = count_of(choice["demonstrations"], task.demonstrations)
    axes = {
        "dataset": str(task.dataset),
        "episodes": demonstrations,
        "seed": choice["seed"],
        "threads": 1,
        "context": {"length": choice["context_length"], "stride_ticks": task.stride_ticks},
        **({} if task.steps is None else {"steps": task.steps}),
    }
    backbone = config.backbones.get(choice["backbone"], {"model": {"backbone": choice["backbone"]}})
    training: dict[str, Any] = {}
    for part in (config.base, axes, task.overrides, backbone, method.training):
        training = merged(training, part)
    set_by_method = {
        name: value for name in ("replan_every_ticks", "candidates") if (value := getattr(method, name)) is not None
    }
    return Cell(
        choice["task"],
        choice["context_length"],
        demonstrations,
        str(choice["demonstrations"]),
        choice["method"],
        choice["backbone"],
        choice["seed"],
        to_plain(training),
        to_plain(method.stages),
        replace(config.evaluation, **set_by_method),
    )


def count_of(demonstrations: int | str, full: int) -> int:
    """``N/2`` or ``2N`` of ``full``, or a count as it is. Raises ConfigurationError."""
    if isinstance(demonstrations, int):
        count = demonstrations
    else:
        match = _REGIME.match(demonstrations)
        if match is None:
            raise ConfigurationError(f"demonstrations: '{demonstrations}': write a count, N, N/2 or 2N")
        count = full * int(match["times"] or 1) // int(match["divisor"] or 1)
    if count < 1:
        raise ConfigurationError(f"demonstrations: '{demonstrations}' of N={full} is {count}: give at least 1")
    return count


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """``first`` with what ``second`` says instead; sections are merged, everything else is replaced."""
    result = dict(first)
    for key, value in second.items():
        before = result.get(key)
        result[key] = merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return result


def _product(grid: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    values = {**grid, **{axis: DEFAULTS[axis] for axis in AXES if axis not in grid}}
    for combination in itertools.product(*values.values()):
        yield dict(zip(values, combination, strict=True))
