"""The cells of a study: every combination that a grid asks for, with all that decides its result, and a hash of that."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from policy_server.runtime.configuration import to_plain
from policy_server.runtime.errors import ConfigurationError
from sim_bridge.shift import AS_BUILT, Shift, load_shift
from sim_bridge.study.configuration import AXES, DEFAULTS, EvaluationConfig, StudyConfig

_WITHOUT_EFFECT = ("threads", "checkpoint_every")
_REGIME = re.compile(r"^(?P<times>\d*)N(/(?P<divisor>[1-9]\d*))?$")


@dataclass(frozen=True)
class Cell:
    """One policy to train and to evaluate.

    Attributes:
        demonstrations: how many it learns from; ``regime`` is what the grid called that, such as ``N/2``.
        training: the training configuration but for ``name`` and ``output``, as its YAML will say it; the base's for one that adapts.
        stages: settings of ``policy_server.train_stages`` but for ``training``; empty: trained by ``policy_server.train``.
        shift: what is different from the task as it is built, where the policy is evaluated and its demonstrations were collected.
        base: the cell whose policy it starts from.
        finetune: settings of ``policy_server.finetune`` but for what belongs to this cell; empty: the base's policy as it is.
        dataset: where its demonstrations are.
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
    shift: Shift = AS_BUILT
    base: "Cell | None" = None
    finetune: dict[str, Any] = field(default_factory=dict)

    @property
    def dataset(self) -> str:
        return str(self.finetune["dataset"] if self.finetune else self.training["dataset"])

    @property
    def is_trained(self) -> bool:
        """Whether it has a policy of its own, and is not only its base run in another world."""
        return self.base is None or bool(self.finetune)

    @property
    def steps(self) -> int | None:
        """Optimizer steps; None where the configuration leaves them to the training."""
        if self.base is None or not self.is_trained:
            return self.training.get("steps") if self.is_trained else 0
        method = self.finetune.get("by_method", {}).get(self.finetune.get("method"), {})
        found: int | None = method.get("steps", self.finetune.get("training", {}).get("steps", self.base.steps))
        return found

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
        if self.shift.name:
            content["shift"] = to_plain(self.shift)
        if self.base is not None:
            content |= {"base": self.base.hash, "finetune": self.finetune}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def id(self) -> str:
        """For people first, and unique: the name of the cell's folder."""
        world = (self.task, self.shift.name) if self.shift.name else (self.task,)
        parts = (*world, f"c{self.context_length}", f"d{self.demonstrations}", self.method, self.backbone)
        return "-".join((*parts, f"s{self.seed}", self.hash[:8]))


def expand(config: StudyConfig) -> list[Cell]:
    """All cells, in the order of the grids; one that several grids ask for comes once, where it is asked for first.

    A cell that no grid asks for, but another one adapts, comes before that.
    """
    cells: dict[str, Cell] = {}
    for grid in config.grids:
        for choice in _product(grid):
            cell = make_cell(config, choice)
            for one in (cell.base, cell):
                if one is not None:
                    cells.setdefault(one.hash, one)
    return list(cells.values())


def make_cell(config: StudyConfig, choice: Mapping[str, Any]) -> Cell:
    """The cell of one value per axis; those that ``choice`` leaves out have their default."""
    choice = {axis: values[0] for axis, values in DEFAULTS.items()} | dict(choice)
    if config.methods[choice["method"]].adapts is not None:
        return _adapting_cell(config, choice)
    task, method = config.tasks[choice["task"]], config.methods[choice["method"]]
    demonstrations = count_of(choice["demonstrations"], task.demonstrations)
    shift = load_shift(choice["shift"], choice["task"])
    axes = {
        "dataset": str(task.dataset) if not shift.name else str(_shifted_dataset(config, choice)),
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
        shift,
    )


def _adapting_cell(config: StudyConfig, choice: Mapping[str, Any]) -> Cell:
    """A cell that starts from the policy of another one, which was trained on the task as it is built."""
    method = config.methods[choice["method"]]
    base = make_cell(config, {**choice, "method": method.adapts, "shift": "", "demonstrations": "N"})
    shift = load_shift(choice["shift"], choice["task"])
    set_by_method = {
        name: value for name in ("replan_every_ticks", "candidates") if (value := getattr(method, name)) is not None
    }
    cell = replace(
        base,
        method=choice["method"],
        shift=shift,
        base=base,
        evaluation=replace(base.evaluation, **set_by_method),
        demonstrations=0,
        regime="0",
    )
    if not method.finetune:
        return cell
    count = count_of(choice["demonstrations"], config.tasks[choice["task"]].demonstrations)
    dataset = _shifted_dataset(config, choice) if shift.name else config.tasks[choice["task"]].dataset
    own = {"dataset": str(dataset), "demonstrations": count, "seed": choice["seed"]}
    finetune = to_plain(merged(merged(config.finetune, method.finetune), own))
    return replace(cell, demonstrations=count, regime=str(choice["demonstrations"]), finetune=finetune)


def _shifted_dataset(config: StudyConfig, choice: Mapping[str, Any]) -> Path:
    """Every training seed has demonstrations of its own: of few, which ones they are matters."""
    return config.collection.shifted / f"{choice['task']}_{choice['shift']}_s{choice['seed']}"


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
