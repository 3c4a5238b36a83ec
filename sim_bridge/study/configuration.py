"""What a study is: tasks, methods and the grids whose product is trained and evaluated (``config/study/*.yaml``)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from policy_server.runtime import configuration
from policy_server.runtime.errors import ConfigurationError
from sim_bridge.task_config import load_task_config
from sim_bridge.tasks.registry import task_by_name

AXES = ("task", "shift", "context_length", "demonstrations", "method", "backbone", "seed")
"""What cells differ in; each is also a column of the results table."""
DEFAULTS: dict[str, tuple[Any, ...]] = {
    "shift": ("",),
    "demonstrations": ("N",),
    "method": ("naive",),
    "backbone": ("unet_attention",),
    "seed": (0,),
}
"""What a grid means by an axis that it does not name."""


@dataclass(frozen=True)
class TaskStudy:
    """A task of the study.

    ``demonstrations`` is its N; ``stride_ticks`` lie between two observations of a context; ``steps`` and ``overrides`` replace
    what ``StudyConfig.base`` says.
    """

    dataset: Path
    demonstrations: int
    stride_ticks: int
    steps: int | None = None
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationConfig:
    """Rollouts on seeds ``seed`` to ``seed + episodes - 1``, the same for every cell, so that cells compare in pairs.

    None: as the bundle says.
    """

    episodes: int = 50
    seed: int = 0
    replan_every_ticks: int | None = None
    candidates: int | None = None


@dataclass(frozen=True)
class MethodConfig:
    """A way to train and to run: overrides of the training configuration, and of how the bundle is sampled.

    With ``stages`` (encoder, finetune_steps, … as in ``config/training/stages_reach_cued.yaml``) it is trained in stages.
    With ``adapts``, the name of another method, it starts from that method's policy of the same task, context length, backbone and
    seed, trained on all N demonstrations of the task as it is built: ``finetune`` (settings of ``policy_server.finetune``) says
    how, and without it the policy is run as it is.
    """

    training: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, Any] = field(default_factory=dict)
    adapts: str | None = None
    finetune: dict[str, Any] = field(default_factory=dict)
    replan_every_ticks: int | None = None
    candidates: int | None = None


@dataclass(frozen=True)
class CollectionConfig:
    """How demonstrations are collected where the dataset has too few.

    ``shifted``: folder of the demonstrations of a shifted task, a dataset per task, shift and training seed.
    """

    images: bool = False
    noise_rad: float | None = None
    shifted: Path = Path("data/shifted")


@dataclass(frozen=True)
class ComparisonConfig:
    """Two choices of the same axes, compared in pairs: cells that agree in everything else, episode by episode.

    Pairs are pooled over the axes ``over``; each combination of the others has a row of its own. ``where`` restricts both sides
    to values, or lists of values, of other axes. ``measure``: success on the cell's task, or, of adapted policies, on the task as it
    is built (``as_built``): what they have not forgotten.
    """

    name: str
    a: dict[str, Any]
    b: dict[str, Any]
    over: tuple[str, ...] = ("seed",)
    where: dict[str, Any] = field(default_factory=dict)
    measure: Literal["success", "as_built"] = "success"


@dataclass(frozen=True)
class PlotConfig:
    """Success against context length, one panel per task, one line per combination of the axes ``lines``."""

    name: str
    title: str
    lines: tuple[str, ...]
    where: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyConfig:
    """A study.

    ``base`` holds what all training configurations have in common. A grid maps axes to lists of values; its cells are the product,
    the axis named first varying slowest. ``demonstrations`` are counts, or ``N``, ``N/2``, ``2N`` of the task's N. A backbone that
    ``backbones`` does not list means ``model.backbone`` alone. ``finetune`` holds what all adapting methods have in common.
    ``output`` holds cells at work; ``results`` gets the table, the plots and the report. Checkpoints and bundles of finished cells
    are deleted unless ``keep_bundles``; those of policies that others adapt are kept.
    """

    name: str
    title: str
    output: Path
    results: Path
    tasks: dict[str, TaskStudy]
    grids: tuple[dict[str, tuple[Any, ...]], ...]
    base: dict[str, Any] = field(default_factory=dict)
    methods: dict[str, MethodConfig] = field(default_factory=lambda: {"naive": MethodConfig()})
    backbones: dict[str, dict[str, Any]] = field(default_factory=dict)
    finetune: dict[str, Any] = field(default_factory=dict)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    collection: CollectionConfig = field(default_factory=CollectionConfig)
    comparisons: tuple[ComparisonConfig, ...] = ()
    plots: tuple[PlotConfig, ...] = ()
    keep_bundles: bool = False


def load_study(file: Path | str, overrides: Iterable[str] = ()) -> StudyConfig:
    """Raises ConfigurationError naming the first thing that cannot be: a key, an axis, a task, a method."""
    config = configuration.load(StudyConfig, file, overrides)
    for task in config.tasks:
        task_by_name(task)
    for name, method in config.methods.items():
        _check_adapting(name, method, config, f"{file}: methods.{name}")
    for i, grid in enumerate(config.grids):
        _check_grid(grid, config, f"{file}: grids[{i}]")
    for comparison in config.comparisons:
        where = f"{file}: comparison '{comparison.name}'"
        for names in (comparison.a, comparison.b, comparison.over, comparison.where):
            _check_names(names, AXES, where)
        if comparison.a.keys() != comparison.b.keys():
            raise ConfigurationError(f"{where}: a and b must name the same axes, or there is no telling what is a pair")
    for plot in config.plots:
        for names in (plot.lines, plot.where):
            _check_names(names, AXES, f"{file}: plot '{plot.name}'")
    return config


def _check_grid(grid: dict[str, tuple[Any, ...]], config: StudyConfig, where: str) -> None:
    _check_names(grid, AXES, where)
    for axis in ("task", "context_length"):
        if not grid.get(axis):
            raise ConfigurationError(f"{where}: '{axis}' is missing: give a list of values")
    _check_names(grid["task"], config.tasks, f"{where}: task")
    _check_names(grid.get("method", ("naive",)), config.methods, f"{where}: method")
    for shift in filter(None, grid.get("shift", ())):
        for task in grid["task"]:
            load_task_config(task, shift=shift)
    for axis in ("context_length", "seed"):
        for value in grid.get(axis, ()):
            if not isinstance(value, int):
                raise ConfigurationError(f"{where}: {axis}={value!r}: give whole numbers")


def _check_adapting(name: str, method: MethodConfig, config: StudyConfig, where: str) -> None:
    if method.adapts is None:
        if method.finetune:
            raise ConfigurationError(f"{where}: finetune goes with adapts, the method whose policy is the start")
        return
    _check_names([method.adapts], config.methods, f"{where}: adapts")
    if config.methods[method.adapts].adapts is not None:
        raise ConfigurationError(
            f"{where}: adapts '{method.adapts}', which adapts another itself: name a method that trains"
        )
    if method.training or method.stages:
        raise ConfigurationError(f"{where}: training and stages are the base's: say under finetune what is different")
    taken = {
        "base",
        "dataset",
        "output",
        "demonstrations",
        "seed",
        "bundle",
        "adapter",
        "base_bundle",
    } & method.finetune.keys()
    if taken:
        raise ConfigurationError(f"{where}: finetune.{min(taken)} is set by the study: leave it out")


def _check_names(names: Iterable[Any], known: Iterable[str], where: str) -> None:
    for name in names:
        if name not in (known := list(known)):
            near = get_close_matches(str(name), known, n=1)
            mend = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
            raise ConfigurationError(f"{where}: unknown '{name}'; {mend}")
