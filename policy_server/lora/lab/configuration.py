"""What a laboratory run is: series of cells, each a size, a strength and a step size, and how long they may take."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from policy_server.lora.lab.activations import ActivationName
from policy_server.runtime.configuration import apply_overrides, build, read_yaml
from policy_server.runtime.errors import ConfigurationError

Student = Literal["frozen", "joint", "linearised", "linearised_joint", "correlational", "scratch"]


@dataclass(frozen=True)
class SeriesConfig:
    """One line of a plot: every combination of the values in its tuples is a cell.

    ``student``: *frozen* learns û, *joint* ĉ too; *linearised* and *linearised_joint* are the same for the network's first-order
    expansion in the perturbation; *correlational* is one neuron and *scratch* the whole first layer, both from random weights.
    ``method``: *reduced* follows the few numbers that matter and is exact in law, *plain* all d coordinates.
    ``coefficients``: where c and the first ĉ are drawn from. ``normalise``: perturbed rows are scaled to length 1 (both networks).
    ``strengths``: ξ, in units of √k or of 1. ``coefficient_rate``: step size of ĉ over that of û.
    Step size η = scale · (1 + κ)/κ · d^-d_power · k^-k_power with κ = ξ²/k (without the factor in κ for students from random weights).
    A cell ends after ``horizon``/η steps, at most ``max_steps``; earlier once all its instances have reached the threshold.
    ``ends_early``: false runs every cell to its end. ``recover``: learn c by regression at the end.
    """

    activation: ActivationName = "relu"
    student: Student = "frozen"
    method: Literal["reduced", "plain"] = "reduced"
    rows: Literal["orthonormal", "separated"] = "orthonormal"
    coefficients: Literal["quantised", "spherical"] = "quantised"
    normalise: bool = True
    dimensions: tuple[int, ...] = (1000,)
    neurons: tuple[int, ...] = (50,)
    strengths: tuple[float, ...] = (1.0,)
    strength_unit: Literal["sqrt_k", "one"] = "sqrt_k"
    scales: tuple[float, ...] = (1.0,)
    d_power: float = 1.0
    k_power: float = 0.5
    coefficient_rate: float = 1.0
    horizon: float = 30.0
    max_steps: int = 2_000_000
    ends_early: bool = True
    recover: bool = False


@dataclass(frozen=True)
class LabConfig:
    """``base`` holds what all series share. ``output``: a folder per group of cells that are advanced together. ``results``: where
    tables and plots go, named ``lora_<name>_…``, and the page ``report``, of which the run writes one part.

    ``threshold``: of the overlap ⟨u, û⟩². ``fit``: over which quantity exponents are fitted. ``precision``: of the preactivations;
    the overlap itself is always kept in double precision. ``block_steps``: steps between two looks at the overlap.
    ``loss_levels``: of the series named, also the steps until the loss is no more than this.
    """

    name: str
    output: Path
    series: dict[str, dict[str, Any]]
    base: dict[str, Any] = field(default_factory=dict)
    results: Path = Path("docs/results")
    report: str = "lora.md"
    seed: int = 0
    instances: int = 20
    threshold: float = 0.9
    precision: Literal["float32", "float64"] = "float32"
    block_steps: int = 100
    loss_levels: dict[str, float] = field(default_factory=dict)
    checkpoint_every_s: float = 10.0
    fit: tuple[Literal["dimension", "neurons"], ...] = ()
    confidence: float = 0.95
    resamples: int = 2000


def load_lab(path: Path | str, overrides: Iterable[str] = ()) -> tuple[LabConfig, dict[str, SeriesConfig]]:
    """The run and its series. Raises ConfigurationError: an unknown key, or a value that does not fit."""
    config = build(LabConfig, apply_overrides(read_yaml(path), overrides), str(path))
    series = {
        name: build(SeriesConfig, {**config.base, **values}, f"{path}: series.{name}")
        for name, values in config.series.items()
    }
    for refused, reason in (
        (not series, "series: give at least one"),
        (config.instances < 1, f"instances {config.instances}: give 1 or more"),
        (config.block_steps < 1, f"block_steps {config.block_steps}: give 1 or more"),
        (not 0 < config.threshold < 1, f"threshold {config.threshold}: give a number between 0 and 1"),
        (not 0 < config.confidence < 1, f"confidence {config.confidence}: give a number between 0 and 1"),
    ):
        if refused:
            raise ConfigurationError(f"{path}: {reason}")
    unknown = sorted(set(config.loss_levels) - set(series))
    if unknown:
        raise ConfigurationError(f"{path}: loss_levels: no series '{unknown[0]}'; there are: {', '.join(series)}")
    for name, each in series.items():
        _check(f"{path}: series.{name}", each)
    return config, series


def _check(source: str, series: SeriesConfig) -> None:
    needed = max(series.neurons, default=0) + 3  # the rows' span, u, and two directions more for the reduction
    positive = (*series.dimensions, *series.neurons, *series.strengths, *series.scales, series.horizon)
    from_scratch = series.student in ("correlational", "scratch")
    for refused, reason in (
        (min(positive, default=0) <= 0, "dimensions, neurons, strengths, scales and horizon: give positive numbers"),
        (
            min(series.dimensions, default=0) < needed,
            f"dimension {min(series.dimensions, default=0)}: give at least neurons + 3 = {needed}",
        ),
        (
            series.student.startswith("linearised") and series.method == "plain",
            f"student {series.student} with method plain: take method reduced",
        ),
        (
            from_scratch and series.method == "plain",
            f"student {series.student} with method plain: leave method out, it has one only",
        ),
        (
            from_scratch and series.rows == "separated",
            f"student {series.student}: its teacher's rows are orthonormal; set rows: orthonormal",
        ),
        (series.recover and series.student not in ("frozen", "joint"), f"recover: not for student {series.student}"),
        (
            series.recover and series.coefficients == "spherical",
            "recover: the regression needs coefficients: quantised",
        ),
    ):
        if refused:
            raise ConfigurationError(f"{source}: {reason}")
