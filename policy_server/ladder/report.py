"""The ladder's part of the report on Muon, with its tables and plots, from the runs that are done."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from policy_server.ladder.configuration import LadderConfig
from policy_server.ladder.findings import held_out_findings, law_findings, plateau_findings, steep_findings
from policy_server.ladder.laws import (
    PERMUTATIONS,
    Group,
    HeldOut,
    Law,
    Steepness,
    group_values,
    hold_out_largest,
    last_quarters,
)
from policy_server.ladder.plateau import Curve, PlateauValue, plateau_values, read_curves
from policy_server.ladder.plots import plot_exponents, plot_held_out, plot_laws, plot_steps
from policy_server.ladder.recipes import RecipeCheck, check_predicted_recipe, fit_laws
from policy_server.ladder.rungs import Rung
from policy_server.muon.errors import SpectrumError
from policy_server.sweep.report import NothingDoneError, paragraph, table, write_csv, write_section

TITLE = "Muon on diffusion policies"


@dataclass(frozen=True)
class Analysis:
    """Everything that a report says, from the runs that are done."""

    done: tuple[Rung, ...]
    curves: tuple[Curve, ...]
    values: tuple[PlateauValue, ...]
    groups: tuple[Group, ...]
    laws: tuple[Law, ...]
    held_out: tuple[HeldOut, ...]
    steepness: tuple[Steepness, ...]
    checks: tuple[RecipeCheck, ...]
    unchecked: tuple[str, ...]


def analyse(config: LadderConfig, rungs: Sequence[Rung]) -> Analysis:
    """Raises NothingDoneError, and SpectrumError for a run whose spectra are damaged."""
    done = [rung for rung in rungs if rung.job.is_done]
    if not done:
        raise NothingDoneError(
            f"no run of '{config.name}' is done in '{config.output}': run the ladder without --report"
        )
    curves = [curve for rung in done for curve in read_curves(rung)]
    values = plateau_values(curves, config.plateau)
    groups = group_values(values)
    held_out = [found for group in groups if (found := hold_out_largest(group, config.confidence)) is not None]
    checks, unchecked = _check_recipes(done, values, config.confidence)
    return Analysis(
        tuple(done),
        tuple(curves),
        tuple(values),
        tuple(groups),
        tuple(fit_laws(groups, config.confidence)),
        tuple(held_out),
        tuple(last_quarters(groups, config.confidence)),
        checks,
        unchecked,
    )


def _check_recipes(
    done: Sequence[Rung], values: Sequence[PlateauValue], confidence: float
) -> tuple[tuple[RecipeCheck, ...], tuple[str, ...]]:
    """Of each family a check, or why there is none."""
    checks, reasons = [], []
    for family in dict.fromkeys(rung.family for rung in done):
        own = [value for value in values if value.family == family]
        try:
            checks.append(check_predicted_recipe([rung for rung in done if rung.family == family], own, confidence))
        except SpectrumError as error:
            reasons.append(str(error))
    return tuple(checks), tuple(reasons)


def write_report(config: LadderConfig, rungs: Sequence[Rung], config_file: str) -> Path:
    """Tables, plots, and the ladder's part of the page; returns the page. Raises as ``analyse``."""
    analysis = analyse(config, rungs)
    prefix = f"muon_{config.name}"
    write_csv(config.results / f"{prefix}_quantiles.csv", analysis.values)
    write_csv(config.results / f"{prefix}_laws.csv", analysis.laws)
    write_csv(config.results / f"{prefix}_held_out.csv", analysis.held_out)
    _draw(config, analysis, prefix)
    page = config.results / config.report
    lines = list(_lines(config, rungs, analysis, config_file, prefix))
    write_section(page, config.name, TITLE, lines)
    return page


def _draw(config: LadderConfig, analysis: Analysis, prefix: str) -> None:
    plot_steps(analysis.curves, config.plateau, config.results / f"{prefix}_steps.png")
    if analysis.laws:
        plot_exponents(analysis.laws, config.results / f"{prefix}_exponents.png")
    for family in dict.fromkeys(law.family for law in analysis.laws):
        plot_laws(analysis.groups, analysis.laws, family, config.results / f"{prefix}_{family}.png")
    if analysis.held_out:
        plot_held_out(analysis.held_out, config.results / f"{prefix}_held_out.png")


def _lines(
    config: LadderConfig, rungs: Sequence[Rung], analysis: Analysis, config_file: str, prefix: str
) -> Iterator[str]:
    yield f"## Spectral scaling laws: {config.name}"
    yield ""
    yield from _what_was_run(rungs, analysis, config_file)
    yield from _plateau(config, analysis, prefix)
    yield from _power_law(config, analysis, prefix)
    yield from _last_layers(config, analysis)
    yield from _held_out(config, analysis, prefix)
    yield from _recipes(analysis)
    files = ", ".join(f"[`{prefix}_{name}.csv`]({prefix}_{name}.csv)" for name in ("quantiles", "laws", "held_out"))
    yield from paragraph(f"All numbers: {files}.")


def _what_was_run(rungs: Sequence[Rung], analysis: Analysis, config_file: str) -> Iterator[str]:
    yield f"{len(analysis.done)} of {len(rungs)} runs are done; each is an ordinary training with Muon and a spectrum log."
    yield ""
    yield "```bash"
    yield f"python -m policy_server.ladder {config_file}           # trains what is missing, then writes this part"
    yield f"python -m policy_server.ladder {config_file} --report  # writes this part from the runs that are done"
    yield "```"
    yield ""
    rows = []
    for rung in analysis.done:
        training, optimizer = rung.training, rung.training.optimizer
        step_s = rung.job.step_s
        rows.append(
            (
                rung.family,
                rung.name,
                rung.seed,
                f"{rung.parameters:,}".replace(",", " "),
                training.steps,
                training.batch_windows,
                f"{optimizer.learning_rate:g}",
                "" if step_s is None else f"{1000 * step_s:.0f}",
            )
        )
    yield from table(("family", "rung", "seed", "parameters", "steps", "batch", "learning rate", "ms per step"), rows)
    missing = [rung.training.name for rung in rungs if rung not in analysis.done]
    if missing:
        yield from paragraph(f"Not done: {', '.join(missing)}.")


def _plateau(config: LadderConfig, analysis: Analysis, prefix: str) -> Iterator[str]:
    yield "### Is there a plateau after the burn-in?"
    yield ""
    last = f"step {config.plateau.to_step}" if config.plateau.to_step else "the end"
    yield from paragraph(
        f"The plateau is from step {config.plateau.from_step} to {last}.",
        "Factors by which sigma_q differs: between the first measurement and the plateau (burn-in), and from the plateau's begin to its",
        "end along a straight line (drift); medians over layer types, depths and runs. A tenth of the drifts is beyond the last column.",
    )
    rows = [
        (each.family, each.quantile, f"{each.burn_in:.2f}", f"{each.drift:.2f}", f"{each.drift_90:.2f}")
        for each in plateau_findings(analysis.values)
    ]
    yield from table(("family", "q", "burn-in", "drift", "drift, 90 %"), rows)
    deficient = {(value.family, value.type, value.quarter) for value in analysis.values if value.rank_deficient}
    if deficient:
        names = ", ".join(f"{family} {kind} {quarter}/4" for family, kind, quarter in sorted(deficient))
        yield from paragraph(f"At rounding at some quantile, which is left out from here on: {names}.")
    yield f"![Quantiles over the steps]({prefix}_steps.png)"
    yield ""


def _power_law(config: LadderConfig, analysis: Analysis, prefix: str) -> Iterator[str]:
    yield "### Does sigma_q follow a power of the size?"
    yield ""
    if not analysis.laws:
        yield from paragraph("Not to be said yet: a law needs two sizes.")
        return
    yield from paragraph(
        "sigma_q = c · parameters^(-alpha), least squares in logarithms per layer type, depth quarter and quantile, over the rungs'",
        f"means of the seeds; t-intervals at {config.confidence:.0%} with (rungs - 2) degrees of freedom.",
        "*Falling*, *rising*: laws whose interval for alpha excludes zero.",
        "*p*: laws whose exponent is beyond 95 % of those of relabelled ladders, the negative control: sizes shuffled within each seed,",
        f"{PERMUTATIONS} draws; by chance alone it would be one in twenty.",
        "*Noise*: exponent of random matrices of the same shapes, which shrink with their rank because of the norm alone.",
        "*Beyond noise*: laws whose exponent differs from that by more than its interval.",
        "Tests are not corrected for their number.",
    )
    rows = [
        (
            each.family,
            each.quantile,
            each.laws,
            f"{each.alpha:.2f}",
            f"{each.alpha_least:.2f} to {each.alpha_most:.2f}",
            f"{each.r2:.2f}",
            each.falling,
            each.rising,
            each.p_small,
            f"{each.alpha_random:.2f}",
            each.beyond_noise,
        )
        for each in law_findings(analysis.laws)
    ]
    head = (
        "family",
        "q",
        "laws",
        "alpha, median",
        "least to most",
        "R²",
        "falling",
        "rising",
        "p < 0.05",
        "noise",
        "beyond noise",
    )
    yield from table(head, rows)
    yield f"![Exponents]({prefix}_exponents.png)"
    yield ""
    yield from paragraph("At q = 0.5:")
    at_half = [
        (
            law.family,
            law.type,
            f"{law.quarter}/4",
            _estimate(law.alpha, law.alpha_low, law.alpha_high),
            f"{law.r2:.2f}",
            f"{law.p:.4f}",
            f"{law.alpha_random:.2f}",
            _estimate(law.excess, law.excess_low, law.excess_high),
        )
        for law in analysis.laws
        if law.quantile == 0.5
    ]
    yield from table(("family", "type", "depth", "alpha", "R²", "p", "noise", "alpha beyond noise"), at_half)
    for family in dict.fromkeys(law.family for law in analysis.laws):
        yield f"![Laws of {family}]({prefix}_{family}.png)"
        yield ""


def _last_layers(config: LadderConfig, analysis: Analysis) -> Iterator[str]:
    if not analysis.steepness:
        return
    yield "### Are the last layers steeper?"
    yield ""
    yield from paragraph(
        "Exponent of the last depth quarter less the mean one of the quarters before, per type and quantile, from the ratio of their",
        f"sigma_q in the same runs. *Steeper*, *flatter*: {config.confidence:.0%} interval above or below zero.",
    )
    rows = [
        (each.family, each.compared, f"{each.median:+.2f}", each.steeper, each.flatter)
        for each in steep_findings(analysis.steepness)
    ]
    yield from table(("family", "compared", "difference, median", "steeper", "flatter"), rows)
    yield from paragraph("At q = 0.5:")
    at_half = [
        (each.family, each.type, _estimate(each.difference, each.low, each.high))
        for each in analysis.steepness
        if each.quantile == 0.5
    ]
    yield from table(("family", "type", "difference"), at_half)


def _held_out(config: LadderConfig, analysis: Analysis, prefix: str) -> Iterator[str]:
    yield "### Does the law predict the largest size?"
    yield ""
    if not analysis.held_out:
        yield from paragraph("Not to be said yet: this needs four sizes.")
        return
    yield from paragraph(
        f"Laws from all sizes but the largest, {config.confidence:.0%} prediction intervals.",
        "*Off by*: median factor between guess and measurement; beside the law's guess that of the next smaller size as it is, and scaled",
        "as noise in matrices of these shapes would. *Width*: median factor from an interval's middle to its end.",
    )
    rows = [
        (
            each.family,
            f"{each.within} of {each.predictions} ({each.within / each.predictions:.0%})",
            f"{each.off:.3f}",
            f"{each.off_unchanged:.3f}",
            f"{each.off_normalised:.3f}",
            f"{each.width:.2f}",
        )
        for each in held_out_findings(analysis.held_out)
    ]
    yield from table(("family", "within the interval", "law off by", "unchanged", "scaled as noise", "width"), rows)
    yield f"![Held-out size]({prefix}_held_out.png)"
    yield ""


def _recipes(analysis: Analysis) -> Iterator[str]:
    yield "### Does a predicted recipe serve?"
    yield ""
    for reason in analysis.unchecked:
        yield from paragraph(f"Not to be said: {reason}.")
    if not analysis.checks:
        return
    yield from paragraph(
        "The recipe for the largest size from what the smaller sizes predict, and the one from its own spectra, both on its own spectra",
        "at the end of the training. FLOPs of orthonormalisation are over those of five fixed steps; errors are root mean squares of",
        "(output - 1) over the directions above rounding. *Same*: layers for which both say the same.",
    )
    rows = [
        (
            each.family,
            each.rung,
            each.layers,
            f"{each.same:.0%}",
            f"{each.flops_predicted:.2f}",
            f"{each.flops_measured:.2f}",
            f"{each.error_predicted:.3f}",
            f"{each.error_measured:.3f}",
            f"{each.error_of_fixed_five:.3f}",
        )
        for each in analysis.checks
    ]
    head = (
        "family",
        "rung",
        "layers",
        "same",
        "FLOPs, predicted",
        "measured",
        "error, predicted",
        "measured",
        "five fixed steps",
    )
    yield from table(head, rows)


def _estimate(value: float, low: float, high: float) -> str:
    return f"{value:.2f} ({low:.2f} to {high:.2f})"
