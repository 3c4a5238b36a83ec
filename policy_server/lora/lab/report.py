"""A laboratory run's part of the report on LoRA, with its tables and plots, from the groups that are done."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policy_server.lora.lab.cells import Group
from policy_server.lora.lab.configuration import LabConfig
from policy_server.lora.lab.dynamics import Doubles
from policy_server.lora.lab.exponents import Exponent, fit_medians, fit_paired
from policy_server.lora.lab.outcomes import Outcome, outcomes
from policy_server.lora.lab.plots import plot_curves, plot_steps, varied
from policy_server.lora.lab.recovery import linearised_limit, recover_coefficients
from policy_server.lora.lab.simulation import read_result
from policy_server.sweep.report import NothingDoneError, paragraph, table, write_csv, write_section

TITLE = "LoRA"

Series = Mapping[str, Sequence[Outcome]]


@dataclass(frozen=True)
class CellRow:
    """One instance of one cell in the table of all; ``steps`` is infinite when the threshold was never reached."""

    series: str
    activation: str
    student: str
    dimension: int
    neurons: int
    strength: float
    step_size: float
    instance: int
    steps: float
    steps_from_first_start: float
    steps_to_escape: float
    restarted: bool
    steps_done: int
    overlap_squared: float
    first_loss: float
    last_loss: float


def write_report(config: LabConfig, groups: Sequence[Group], config_file: str) -> Path:
    """Tables, plots, and this run's part of the page; returns the page.

    Raises:
        NothingDoneError: no group is done.
    """
    series, missing = _collect(config, groups)
    fits: dict[str, dict[str, Exponent]] = {str(over): _fit(config, series, over) for over in config.fit}
    prefix = f"lora_{config.name}"
    write_csv(config.results / f"{prefix}.csv", list(_rows(series)))
    plot_curves(series, "overlap", config.threshold, config.results / f"{prefix}_overlap.png")
    plot_curves(series, "loss", config.threshold, config.results / f"{prefix}_loss.png")
    over = _main_axis(series)
    if over is not None:
        own = {name: each for name, each in series.items() if varied([one.cell for one in each]) == [over]}
        plot_steps(own, over, fits.get(over, {}), config.results / f"{prefix}_steps.png")
    page = config.results / config.report
    lines = [
        f"### Laboratory: {config.name}",
        "",
        *_what_was_run(config, config_file, missing),
        *_steps(config, series, prefix),
        *_exponents(config, fits, prefix),
        *_best_scales(series),
        *_loss_levels(config, series),
        *_plots(prefix, over),
        *_recovery(config, series),
        *_linearised(config, series),
    ]
    write_section(page, f"lora_{config.name}", TITLE, lines)
    return page


def _collect(config: LabConfig, groups: Sequence[Group]) -> tuple[dict[str, list[Outcome]], list[str]]:
    """Outcomes by series in the order of the configuration, and the names of the groups that are not done."""
    found: dict[str, list[Outcome]] = {name: [] for name in config.series}
    missing = []
    for group in groups:
        result = read_result(group, config.output / group.name)
        if result is None:
            missing.append(group.name)
            continue
        for each in outcomes(result):
            found[each.cell.series].append(each)
    if len(missing) == len(groups):
        raise NothingDoneError(f"no group of '{config.name}' is done in '{config.output}': run it without --report")
    return {name: own for name, own in found.items() if own}, missing


def _rows(series: Series) -> Iterator[CellRow]:
    for own in series.values():
        for each in own:
            cell = each.cell
            for index in range(len(each.steps)):
                yield CellRow(
                    cell.series,
                    cell.settings.activation,
                    cell.settings.student,
                    cell.dimension,
                    cell.neurons,
                    cell.strength,
                    cell.step_size,
                    index,
                    float(each.steps[index]),
                    float(each.first_steps[index]),
                    float(each.escape_steps[index]),
                    bool(each.restarted[index]),
                    each.ended,
                    float(each.overlap[index] ** 2),
                    float(each.first_loss[index]),
                    float(each.last_loss[index]),
                )


def _main_axis(series: Series) -> str | None:
    """The one thing that most series vary, or None."""
    several = [varied([each.cell for each in own]) for own in series.values()]
    names = [names[0] for names in several if len(names) == 1]
    return max(names, key=names.count) if names else None


def _fit(config: LabConfig, series: Series, over: str) -> dict[str, Exponent]:
    """Of every series that varies ``over``, and at most that, in three sizes or more; per scale if it has several."""
    fits = {}
    for name, own in series.items():
        sizes = [getattr(each.cell, over) for each in own]
        if len(set(sizes)) < 3 or len(set(sizes)) < len(sizes):
            continue
        steps = np.stack([each.steps for each in own])
        # The teachers are the same for all d, and others for every k.
        fit = fit_paired if over == "dimension" else fit_medians
        fits[name] = fit(sizes, steps, config.confidence, config.resamples, config.seed)
    return fits


def _what_was_run(config: LabConfig, config_file: str, missing: Sequence[str]) -> Iterator[str]:
    yield "```bash"
    yield f"python -m policy_server.lora.lab {config_file}           # runs what is missing, then writes this part"
    yield f"python -m policy_server.lora.lab {config_file} --report  # writes this part from what is done"
    yield "```"
    yield ""
    yield from paragraph(
        f"{config.instances} instances per row, the same teachers and samples in all rows of one k, seed {config.seed}.",
        f"*Steps*: median (quartiles) to overlap² ≥ {config.threshold:g}, counting those that never arrived as infinite;",
        "*to 0.1*: the same to overlap² ≥ 0.1. *Restarted*: instances for which the start -u₀ ended with the clearly lower loss.",
        "*Loss*: mean squared error over the first steps and over the last quarter, medians.",
    )
    if missing:
        yield from paragraph(f"Not done: {', '.join(missing)}.")


def _steps(config: LabConfig, series: Series, prefix: str) -> Iterator[str]:
    rows = []
    for name, own in series.items():
        for each in own:
            cell = each.cell
            rows.append(
                (
                    name,
                    cell.dimension,
                    cell.neurons,
                    f"{cell.strength:.3g}",
                    f"{cell.scale:g}",
                    f"{cell.step_size:.2e}",
                    f"{round(each.reached * len(each.steps))} of {len(each.steps)}",
                    _quartiles(each.steps),
                    _count(float(np.quantile(each.escape_steps, 0.5, method="lower"))),
                    int(each.restarted.sum()) if len(cell.sides) > 1 else "-",
                    _count(each.ended),
                    f"{np.median(each.first_loss):.3g} → {np.median(each.last_loss):.3g}",
                )
            )
    head = ("series", "d", "k", "ξ", "scale", "η", "reached", "steps", "to 0.1", "restarted", "ended at", "loss")
    yield from table(head, rows)
    yield from paragraph(f"Every instance: [`{prefix}.csv`]({prefix}.csv).")


def _exponents(config: LabConfig, fits: Mapping[str, Mapping[str, Exponent]], prefix: str) -> Iterator[str]:
    for over, own in fits.items():
        method = (
            "the mean slope of the instances that arrived in every d"
            if over == "dimension"
            else "the slope of the medians, which count an instance that never arrived as infinite"
        )
        yield from paragraph(
            f"Exponent of the steps in {'d' if over == 'dimension' else 'k'}: {method}, with the {config.confidence:.0%} interval of",
            f"{config.resamples} bootstrap resamples of the instances.",
        )
        rows = [
            (name, f"{fit.value:.2f}", f"{fit.low:.2f} to {fit.high:.2f}", f"{fit.used} of {fit.instances}")
            for name, fit in own.items()
        ]
        yield from table(("series", "exponent", "interval", "instances"), rows)


def _best_scales(series: Series) -> Iterator[str]:
    """Of every series that tries several step sizes in several dimensions: which is the fastest in each."""
    rows = []
    for name, own in series.items():
        if {"dimension", "scale"} <= set(varied([each.cell for each in own])):
            for d in sorted({each.cell.dimension for each in own}):
                best = min((each for each in own if each.cell.dimension == d), key=lambda each: each.median_steps)
                rows.append((name, d, f"{best.cell.scale:g}", f"{best.cell.step_size:.2e}", _quartiles(best.steps)))
    if rows:
        yield from paragraph(
            "The scale with the fewest steps (median, counting those that never arrived) in each dimension:"
        )
        yield from table(("series", "d", "scale", "η", "steps"), rows)


def _loss_levels(config: LabConfig, series: Series) -> Iterator[str]:
    rows = [
        (name, each.cell.dimension, f"{each.cell.scale:g}", f"{level:g}", _quartiles(each.steps_to_loss(level)))
        for name, level in config.loss_levels.items()
        for each in series.get(name, ())
    ]
    if rows:
        yield from paragraph("Steps until the loss, averaged since the log before, is no more than a level:")
        yield from table(("series", "d", "scale", "level", "steps"), rows)


def _plots(prefix: str, over: str | None) -> Iterator[str]:
    if over is not None:
        yield from paragraph(
            "In the first picture a small dot is an instance that arrived, a large one the median of all, a line the fit."
        )
        yield f"![Steps to the threshold]({prefix}_steps.png)"
        yield ""
    yield f"![Overlap over the steps]({prefix}_overlap.png)"
    yield ""
    yield f"![Loss over the steps]({prefix}_loss.png)"
    yield ""


def _recovery(config: LabConfig, series: Series) -> Iterator[str]:
    rows = []
    for name, own in series.items():
        for each in own:
            if not each.cell.settings.recover:
                continue
            found = recover_coefficients(each.cell, each.overlap, config.seed)
            losses = (found.loss_before, found.loss_after, found.loss_of_regression)
            rows.append(
                (
                    name,
                    each.cell.dimension,
                    each.cell.neurons,
                    f"{np.median(each.overlap**2):.3f}",
                    f"{found.correct.mean():.1%}",
                    f"{(found.correct == 1).sum()} of {len(found.correct)}",
                    *(f"{np.median(loss):.3g}" for loss in losses),
                )
            )
    if not rows:
        return
    yield from paragraph(
        "**c by regression** on both perturbed versions of every neuron, with û as it was found. *Loss*: median on fresh samples with the",
        "first ĉ, with the recovered one, and of the regression itself.",
    )
    head = ("series", "d", "k", "overlap²", "signs right", "all right", "loss, first ĉ", "recovered ĉ", "regression")
    yield from table(head, rows)


def _linearised(config: LabConfig, series: Series) -> Iterator[str]:
    first = next((own[0] for own in series.values() if own[0].cell.settings.student.startswith("linearised")), None)
    if first is None:
        return
    limit = linearised_limit(first.cell, config.instances, config.seed)
    yield from paragraph(
        f"**The linearised network.** No student that is linear in its perturbation comes below a loss of {np.median(limit):.3g}",
        f"(median; {limit.min():.3g} to {limit.max():.3g} over the instances): the best combination of its features with u known.",
    )


def _quartiles(steps: Doubles) -> str:
    low, middle, high = np.quantile(steps, (0.25, 0.5, 0.75), method="lower")
    return f"{_count(middle)} ({_count(low)} to {_count(high)})"


def _count(steps: float) -> str:
    """Three digits, thousands as k, millions as M."""
    if not np.isfinite(steps):
        return "never"
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if steps >= size:
            return f"{steps / size:.3g} {unit}"
    return f"{steps:.0f}"
