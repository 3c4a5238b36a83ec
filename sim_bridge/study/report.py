"""The report: tables and plots in Markdown, made from the results table alone.

What stands above the marker line belongs to whoever wrote it and stays when the report is made anew.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from policy_server.runtime.whole_file import write_whole
from sim_bridge.intervals import Rate
from sim_bridge.study.adaptation import shifted_worlds
from sim_bridge.study.adaptation_plot import plot_adaptation
from sim_bridge.study.adaptation_report import adaptation_sections, describe_shift
from sim_bridge.study.comparisons import Comparison, compare
from sim_bridge.study.configuration import ComparisonConfig
from sim_bridge.study.plan import Plan
from sim_bridge.study.plots import plot_differences, plot_success
from sim_bridge.study.progress import counted
from sim_bridge.study.result import CellResult
from sim_bridge.study.statistics import RESAMPLES
from sim_bridge.study.summary import Point, lines
from sim_bridge.tasks.registry import task_by_name

_NAMED = 10  # of the cells that are missing
MARKER = "<!-- All below is written by sim_bridge.study; what stands above stays. -->"
_LINE_AXES = ("demonstrations", "method", "backbone")


def report_file(plan: Plan) -> Path:
    return plan.table.with_suffix(".md")


def write_report(plan: Plan, config_file: str) -> Path:
    """Write the table, and beside it the report and its plots; returns the report's path."""
    plan.write_table()  # a checkout may hold the CSV alone
    file = report_file(plan)
    head = f"# {plan.config.title}\n\n"
    if file.exists():
        before, marker, _ = file.read_text(encoding="utf-8").partition(MARKER)
        head = before if marker else head
    text = "\n".join(_body(plan, config_file))
    write_whole(file, f"{head}{MARKER}\n\n{text}\n")
    return file


def _body(plan: Plan, config_file: str) -> Iterator[str]:
    results = plan.ordered_results
    yield from _what_was_run(plan, results, config_file)
    if not results:
        return
    unshifted = [result for result in results if not result.shift]
    yield from _plots(plan, unshifted)
    for task in dict.fromkeys(result.task for result in unshifted):
        yield from _task(task, [result for result in unshifted if result.task == task])
    yield from _trained_under_shifts([result for result in results if result.shift and not result.base])
    yield from _adaptation(plan, results)
    yield from _comparisons(plan, results)
    yield from _cost(unshifted)
    yield from _what_is_missing(plan)


def _what_was_run(plan: Plan, results: Sequence[CellResult], config_file: str) -> Iterator[str]:
    name = plan.config.name
    yield "## What was run"
    yield ""
    yield f"{len(results)} of {len(plan.cells)} cells; each is one policy, trained and then evaluated."
    if results:
        seen = " and ".join(sorted({result.observations for result in results}))
        episodes = _range(result.episodes for result in results)
        first = _range(result.evaluation_seed for result in results)
        yield f"The policies see {seen}. Each ran {episodes} episodes in lockstep, on the same seeds from {first} on."
        hours = sum(result.total_s for result in results) / 3600
        yield f"Together they took {hours:.1f} hours of one process each, on: {'; '.join(sorted({r.machine for r in results}))}."
        yield f"Computed with {'; '.join(sorted({result.versions for result in results}))}."
    yield ""
    yield "```bash"
    yield f"python -m sim_bridge.study {config_file}           # runs what is missing"
    yield f"python -m sim_bridge.study {config_file} --report  # makes this page anew from the table"
    yield "```"
    yield ""
    yield f"All rows, with the outcome of every episode: [`{name}.csv`]({name}.csv), and the same as [parquet]({name}.parquet)."
    yield "Intervals of rates are Wilson's at 95 %; where several training seeds are pooled, they take all episodes as independent,"
    yield "and so do not hold how much training varies from seed to seed."
    yield ""


def _plots(plan: Plan, results: Sequence[CellResult]) -> Iterator[str]:
    for plot in plan.config.plots:
        file = plan.table.with_name(f"{plan.config.name}_{plot.name}.png")
        if plot_success(plot, results, file):
            yield f"![{plot.title}]({file.name})"
            yield ""


def _task(task: str, results: Sequence[CellResult]) -> Iterator[str]:
    facts = task_by_name(task)
    chance = "" if facts.memory == "none" else f"; chance {facts.chance:.0%}"
    yield f"## {task}"
    yield ""
    yield f"Memory: {facts.memory}{chance}. Local stability: {facts.local_stability}. Success in percent, by context length"
    yield f"(an observation every {_range(result.stride_ticks for result in results)} ticks)."
    yield ""
    yield from _success(results)


def _trained_under_shifts(results: Sequence[CellResult]) -> Iterator[str]:
    """Policies that adapt none: trained from nothing, and evaluated, in a shifted world."""
    for task, shift in dict.fromkeys((result.task, result.shift) for result in results):
        yield f"## {task}, trained under {shift}"
        yield ""
        yield f"{describe_shift(shift)} Both the demonstrations and the evaluation are of that. Success in percent, by context length."
        yield ""
        yield from _success([result for result in results if (result.task, result.shift) == (task, shift)])


def _success(results: Sequence[CellResult]) -> Iterator[str]:
    by_line = lines(results, _LINE_AXES)
    counts = {result.regime: result.demonstrations for result in results}
    yield from _by_length(by_line, counts, lambda point: point.success)
    if any(point.contextual for points in by_line.values() for point in points):
        yield "Contextual success: of the episodes in which the manipulation itself was completed, how many were right."
        yield ""
        yield from _by_length(by_line, counts, lambda point: point.contextual)


def _by_length(
    by_line: Mapping[tuple[Any, ...], Sequence[Point]],
    counts: Mapping[str, int],
    rate_of: Callable[[Point], Rate | None],
) -> Iterator[str]:
    """A row per line, a column per context length."""
    lengths = sorted({point.context_length for points in by_line.values() for point in points})
    yield f"| demonstrations | method | backbone | seeds | {' | '.join(map(str, lengths))} |"
    yield f"|---|---|---|---|{'---|' * len(lengths)}"
    for (regime, method, backbone), points in by_line.items():
        by_length = {point.context_length: rate_of(point) for point in points}
        seeds = ", ".join(str(seed) for seed in sorted({seed for point in points for seed in point.seeds}))
        shown = regime if regime == str(counts[regime]) else f"{regime} = {counts[regime]}"
        cells = " | ".join(_rate(by_length.get(length)) for length in lengths)
        yield f"| {shown} | {method} | {backbone} | {seeds} | {cells} |"
    yield ""


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return "-"
    low, high = (round(100 * bound) for bound in rate.interval)
    return f"**{100 * rate.successes / rate.episodes:.0f}** ({low} to {high})"


def _adaptation(plan: Plan, results: Sequence[CellResult]) -> Iterator[str]:
    worlds = shifted_worlds(results)
    plot = plan.table.with_name(f"{plan.config.name}_adaptation.png")
    yield from adaptation_sections(worlds, plot.name if plot_adaptation(worlds, plot) else None)


def _comparisons(plan: Plan, results: Sequence[CellResult]) -> Iterator[str]:
    found = [(config, row) for config in plan.config.comparisons for row in compare(config, results)]
    if not found:
        return
    yield "## Comparisons"
    yield ""
    yield "Pairs are episodes on the same seed of the world. p is McNemar's exact two-sided test over the pairs, as if they were"
    yield "independent: where training seeds are pooled, the same worlds come several times, and p is too small for what another training"
    yield "would give. It is not corrected for the number of comparisons. Intervals of a difference are percentiles of"
    yield f"{RESAMPLES} bootstrap draws of training seeds and episodes."
    yield ""
    file = plan.table.with_name(f"{plan.config.name}_differences.png")
    if plot_differences([(f"{config.name}: {_shared(row)}", row) for config, row in found], file):
        yield f"![Differences]({file.name})"
        yield ""
    for config in plan.config.comparisons:
        yield from _comparison(config, [row for each, row in found if each is config])


def _comparison(config: ComparisonConfig, rows: Sequence[Comparison]) -> Iterator[str]:
    if not rows:
        return
    a, b = (", ".join(str(value) for value in side.values()) for side in (config.a, config.b))
    yield f"### {config.name}"
    yield ""
    if config.measure == "as_built":
        yield "On the task as it is built: what adapting has left of it."
        yield ""
    yield f"| {a} against {b}, at | training seeds | pairs | {a} | {b} | difference | 95 % interval | only {a} | only {b} | p |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        d = row.difference
        seeds = ", ".join(map(str, row.seeds))
        rates = f"{100 * d.successes_a / d.pairs:.1f} % | {100 * d.successes_b / d.pairs:.1f} %"
        interval = f"{100 * d.interval[0]:+.1f} to {100 * d.interval[1]:+.1f}"
        yield (
            f"| {_shared(row)} | {seeds} | {d.pairs} | {rates} | {100 * d.difference:+.1f} | {interval} "
            f"| {d.only_a} | {d.only_b} | {_p(d.p)} |"
        )
    yield ""


def _shared(row: Comparison) -> str:
    shown = {axis: value for axis, value in row.shared.items() if axis != "seed"}
    if "task" not in shown:
        shown = {"task": " + ".join(row.tasks)} | shown
    names = {"context_length": "context "}
    return ", ".join(f"{names.get(axis, '')}{value}" for axis, value in shown.items() if value != "")


def _p(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def _cost(results: Sequence[CellResult]) -> Iterator[str]:
    yield "## Cost"
    yield ""
    yield "Medians over the cells; on a shared machine they say what it took, not what it takes."
    yield ""
    yield "| backbone | context | cells | training, ms per step | export, s | evaluation, s per episode | bundle, MB |"
    yield "|---|---|---|---|---|---|---|"
    for backbone in dict.fromkeys(result.backbone for result in results):
        for length in sorted({result.context_length for result in results if result.backbone == backbone}):
            cells = [result for result in results if (result.backbone, result.context_length) == (backbone, length)]
            step_ms = median(1000 * cell.step_s for cell in cells)
            episode_s = median(cell.evaluate_s / cell.episodes for cell in cells)
            export_s, size_mb = median(cell.export_s for cell in cells), median(cell.bundle_mb for cell in cells)
            yield f"| {backbone} | {length} | {len(cells)} | {step_ms:.1f} | {export_s:.1f} | {episode_s:.2f} | {size_mb:.1f} |"
    yield ""


def _what_is_missing(plan: Plan) -> Iterator[str]:
    missing = [cell for cell in plan.cells if cell.hash not in plan.results]
    if not missing and not plan.strangers:
        return
    yield "## What is missing"
    yield ""
    if missing:
        named = ", ".join(f"`{cell.id}`" for cell in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        yield f"Without a result: {counted(len(missing), 'cell')}: {named}{more}."
    for failure in plan.failures.values():
        yield f"- `{failure.cell}` failed in {failure.stage}: {failure.error}"
    if plan.strangers:
        yield f"Left out here: {counted(len(plan.strangers), 'row')} of the table, of an earlier configuration."
    yield ""


def _range(values: Iterable[int]) -> str:
    found = sorted(set(values))
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"
