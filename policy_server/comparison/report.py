"""The comparison's part of the report on Muon, with its tables and plots, from the runs that are done."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

from policy_server.comparison.configuration import ComparisonConfig
from policy_server.comparison.measurement import Measurement
from policy_server.comparison.pairs import PairRow, compare_pairs
from policy_server.comparison.plots import plot_comparison, plot_stress
from policy_server.comparison.runs import Run
from policy_server.comparison.step_times import step_times_s
from policy_server.comparison.stress import LEVEL, ROWS, STEPS, STRONG, WEAK_SIGMA, Stress, stress
from policy_server.sweep.report import NothingDoneError, paragraph, table, write_csv, write_section

TITLE = "Muon on diffusion policies"

StepTimes = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class RunRow:
    """One run in the table of all runs; the numbers are those of ``Measurement``."""

    policy: str
    contestant: str
    seed: int
    compared: bool
    learning_rate: float
    parameters: int
    steps: int
    validation_loss: float
    final_loss: float
    step_s: float
    training_s: float
    orthonormalised: float
    flops: float
    flops_of_fixed_five: float
    flops_of_run: float
    error: float
    error_of_fixed_five: float


def write_report(config: ComparisonConfig, tuning: Sequence[Run], runs: Sequence[Run], config_file: str) -> Path:
    """Tables, plots, and the comparison's part of the page; returns the page.

    Raises:
        NothingDoneError: no run is done.
    """
    done, tried = [run for run in runs if run.job.is_done], [run for run in tuning if run.job.is_done]
    if not done:
        raise NothingDoneError(f"no run of '{config.name}' is done in '{config.output}': run it without --report")
    prefix = f"muon_{config.name}"
    pairs = compare_pairs(done, config.pairs, config.confidence)
    times, stressed = _step_times(config, done), stress()
    config.results.mkdir(parents=True, exist_ok=True)
    write_csv(config.results / f"{prefix}_runs.csv", [_row(run, run in done) for run in (*tried, *done)])
    write_csv(config.results / f"{prefix}_pairs.csv", pairs)
    plot_comparison(done, times, config.results / f"{prefix}.png")
    plot_stress(stressed, config.results / f"{prefix}_stress.png")
    page = config.results / config.report
    missing = [run.training.name for run in runs if run not in done]
    lines = [
        f"## Optimizers side by side: {config.name}",
        "",
        *_what_was_run(config, done, missing, config_file),
        *_rates(config, tried, done),
        *_losses(config, done, pairs, prefix),
        *_costs(done, times),
        *_stress_case(stressed, prefix),
    ]
    write_section(page, config.name, TITLE, lines)
    return page


def _step_times(config: ComparisonConfig, done: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Policy → contestant → seconds, on the runs of the first seed that is done."""
    times = {}
    for policy in dict.fromkeys(run.policy for run in done):
        own = [run for run in done if run.policy == policy]
        first = [run for run in own if run.seed == own[0].seed]
        times[policy] = step_times_s(first, config.timing_rounds, config.output)
    return times


def _row(run: Run, is_compared: bool) -> RunRow:
    return RunRow(
        run.policy,
        run.contestant,
        run.seed,
        is_compared,
        run.learning_rate,
        run.parameters,
        run.training.steps,
        **asdict(run.measurement),
    )


def _what_was_run(
    config: ComparisonConfig, done: Sequence[Run], missing: Sequence[str], config_file: str
) -> Iterator[str]:
    training = done[0].training
    yield from paragraph(
        f"{len(done)} of {len(done) + len(missing)} runs are done: {training.steps} steps of {training.batch_windows} windows,",
        f"{training.episodes} episodes of `{training.dataset.name}`, seeds {', '.join(map(str, config.seeds))};",
        "runs of one seed share initial weights, batches and noise.",
    )
    yield "```bash"
    yield f"python -m policy_server.compare_optimizers {config_file}           # runs what is missing, then writes this part"
    yield f"python -m policy_server.compare_optimizers {config_file} --report  # writes this part from the runs that are done"
    yield "```"
    yield ""
    if missing:
        yield from paragraph(f"Not done: {', '.join(missing)}.")


def _rates(config: ComparisonConfig, tried: Sequence[Run], done: Sequence[Run]) -> Iterator[str]:
    yield "### Learning rates"
    yield ""
    steps = f"{tried[0].training.steps} steps, " if tried else ""
    yield from paragraph(
        f"Of each contestant's rates that with the least validation loss ({steps}seed {config.tuning.seed}, which is not compared) was",
        "taken. In brackets: validation losses of the rates that were tried.",
    )
    rows = []
    for policy in dict.fromkeys(run.policy for run in done):
        for name, contestant in config.contestants.items():
            taken = next((run.learning_rate for run in done if (run.policy, run.contestant) == (policy, name)), None)
            own = [run for run in tried if (run.policy, run.contestant) == (policy, name)]
            losses = ", ".join(f"{run.learning_rate:g}: {run.measurement.validation_loss:.4g}" for run in own)
            how = f"that of {contestant.rate_of}" if contestant.rate_of else f"({losses})" if losses else "given"
            if own and taken in (min(contestant.learning_rates), max(contestant.learning_rates)):
                how += "; at the end of what was tried"
            rows.append((policy, name, "" if taken is None else f"{taken:g}", how))
    yield from table(("policy", "contestant", "learning rate", "chosen"), rows)


def _losses(config: ComparisonConfig, done: Sequence[Run], pairs: Sequence[PairRow], prefix: str) -> Iterator[str]:
    yield "### Loss"
    yield ""
    validation = config.validation
    yield from paragraph(
        f"Validation loss: of the averaged weights, on {validation.windows} ticks of the episodes that were not trained on, each with",
        f"{validation.draws} draws of noise and diffusion step, the same for all runs. Training loss: mean of the last tenth of the steps.",
        "Means over seeds.",
    )
    rows = []
    for policy, name, own in _by_contestant(done):
        measured = [run.measurement for run in own]
        rows.append(
            (
                policy,
                name,
                len(own),
                f"{fmean(each.validation_loss for each in measured):.5f}",
                f"{fmean(each.final_loss for each in measured):.5f}",
            )
        )
    yield from table(("policy", "contestant", "seeds", "validation loss", "training loss"), rows)
    yield from paragraph(
        f"Ratios of losses, paired over seeds, with t-intervals at {config.confidence:.0%} (seeds - 1 degrees of freedom); below one, the",
        "first is better. Not corrected for their number.",
    )
    rows_of_pairs = [
        (
            pair.policy,
            f"{pair.a} / {pair.b}",
            pair.seeds,
            _interval(pair.validation, pair.validation_low, pair.validation_high),
            _interval(pair.training, pair.training_low, pair.training_high),
            pair.verdict,
        )
        for pair in pairs
    ]
    yield from table(("policy", "pair", "seeds", "validation loss", "training loss", "validation says"), rows_of_pairs)
    yield f"![Losses and times]({prefix}.png)"
    yield ""


def _costs(done: Sequence[Run], times: StepTimes) -> Iterator[str]:
    yield "### Time and arithmetic"
    yield ""
    yield from paragraph(
        "Medians over seeds. *Optimizer step*: alone, contestants in turns, on the networks and gradients of the first seed. *Share*:",
        "of the parameters, what is orthonormalised: `torch.optim.Muon` takes no convolution kernels, so its user trains them with AdamW,",
        "and its FLOPs are those of fewer matrices. *Of five*: FLOPs per step over those of five fixed steps on the same matrices;",
        "*whole run*: the same for all steps, burn-in and measurements of an adaptive recipe included (upper bound). *Error*: root mean",
        "square of what comes out less the polar factor, over the directions above rounding of the momenta at the end, and that of five",
        "fixed steps (float32) on the same momenta.",
    )
    rows = []
    for policy, name, own in _by_contestant(done):
        measured = [run.measurement for run in own]
        step_s = times.get(policy, {}).get(name)
        rows.append(
            (
                policy,
                name,
                f"{1000 * median(each.step_s for each in measured):.1f}",
                "" if step_s is None else f"{1000 * step_s:.1f}",
                f"{median(each.training_s for each in measured):.0f}",
                *_arithmetic(own, measured),
            )
        )
    head = (
        *("policy", "contestant", "training step, ms", "optimizer step, ms", "training, s"),
        *("share", "GFLOPs per step", "of five", "whole run", "error", "error of five"),
    )
    yield from table(head, rows)


def _arithmetic(runs: Sequence[Run], measured: Sequence[Measurement]) -> tuple[str, ...]:
    if not measured[0].flops:
        return ("0", "0", "", "", "", "")
    whole = [
        each.flops_of_run / (run.training.steps * each.flops_of_fixed_five)
        for run, each in zip(runs, measured, strict=True)
    ]
    return (
        f"{median(each.orthonormalised for each in measured):.0%}",
        f"{median(each.flops for each in measured) / 1e9:.3f}",
        f"{median(each.flops / each.flops_of_fixed_five for each in measured):.2f}",
        f"{median(whole):.2f}",
        f"{median(each.error for each in measured):.3f}",
        f"{median(each.error_of_fixed_five for each in measured):.3f}",
    )


def _stress_case(found: Stress, prefix: str) -> Iterator[str]:
    yield "### Where five fixed steps fail"
    yield ""
    yield from paragraph(
        f"A matrix of which {ROWS - STRONG} of {ROWS} directions are planted at {WEAK_SIGMA:g} of ‖M‖, below the failure",
        f"threshold of five fixed steps. *Failed*: directions that come out under {LEVEL:g}. *Left*: distance to the optimum along",
        f"the weak directions after {STEPS // 2} and {STEPS} steps of a linear problem whose gradients have this spectrum.",
    )
    rows = [
        (
            each.name,
            each.config,
            f"{each.threshold:.1e}",
            f"{each.failed} of {ROWS}",
            f"{each.flops / 1e6:.1f}",
            f"{each.distance[STEPS // 2]:.0%}",
            f"{each.distance[STEPS]:.0%}",
        )
        for each in found.contestants
    ]
    yield from table(
        ("by", "configuration", "fails below", "failed", "MFLOPs", f"left after {STEPS // 2}", f"after {STEPS}"), rows
    )
    yield f"![The stress case]({prefix}_stress.png)"
    yield ""


def _by_contestant(runs: Sequence[Run]) -> Iterator[tuple[str, str, list[Run]]]:
    for policy, name in dict.fromkeys((run.policy, run.contestant) for run in runs):
        yield policy, name, [run for run in runs if (run.policy, run.contestant) == (policy, name)]


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
