"""The report's part on adapted policies: a table per shift, with what each way to adapt gains there and loses on the task as it is."""

from collections.abc import Iterator, Sequence

from sim_bridge.intervals import Rate
from sim_bridge.shift import ShiftError, read_shift
from sim_bridge.study.adaptation import Adaptation, ShiftedWorld


def adaptation_sections(worlds: Sequence[ShiftedWorld], plot: str | None) -> Iterator[str]:
    """Markdown, line by line; ``plot``: file name of the picture beside the report."""
    if not worlds:
        return
    yield "## Adapted to shifts"
    yield ""
    yield "The base is trained on the task as it is built, with all demonstrations. An adapted policy starts from it (from scratch: from"
    yield "nothing, with the same networks) and sees so many demonstrations of the shifted task. *Of the base's*: its success under the"
    yield "shift, as a share of the base's, of the same seeds, on the task as it is built. *As built*: its success there, on the base's"
    yield "own episodes; the change is paired with the base, p is McNemar's exact test. Trained: the share of the policy's parameters."
    yield ""
    if plot:
        yield f"![Success under the shift, and on the task as it is built]({plot})"
        yield ""
    for world in worlds:
        yield from _section(world)


def _section(world: ShiftedWorld) -> Iterator[str]:
    yield f"### {world.task}, {world.shift}"
    yield ""
    yield f"{describe_shift(world.shift)} Context {world.context_length}, {world.backbone}."
    if world.base is not None:
        yield f"The base on the task as it is built: {_rate(world.base)} %."
    yield ""
    yield "| method | demonstrations | seeds | trained | under the shift, % | of the base's | as built, % | change | p | training, s |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row in sorted(world.rows, key=lambda row: row.demonstrations):
        yield _row(row)
    yield ""


def _row(row: Adaptation) -> str:
    base = row.base
    share = "-" if base is None or not base.successes else f"{_share(row.success) / _share(base):.0%}"
    change, p = ("-", "-") if row.change is None else (_interval(row), _p(row.change.p))
    trained = "-" if not row.demonstrations else f"{100 * row.trained_fraction:.3g} %"
    cells = (
        *(row.method, row.demonstrations or "-", ", ".join(map(str, row.seeds)), trained),
        *(_rate(row.success), share, _rate(row.as_built), change, p),
        f"{row.train_s:.0f}" if row.demonstrations else "-",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _interval(row: Adaptation) -> str:
    assert row.change is not None
    low, high = (100 * bound for bound in row.change.interval)
    return f"{100 * row.change.difference:+.0f} ({low:+.0f} to {high:+.0f})"


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return "-"
    low, high = (round(100 * bound) for bound in rate.interval)
    return f"**{100 * _share(rate):.0f}** ({low} to {high})"


def _share(rate: Rate) -> float:
    return rate.successes / rate.episodes


def _p(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def describe_shift(shift: str) -> str:
    """A sentence or two on what is different."""
    try:
        return read_shift(shift).description
    except ShiftError:
        return "(A shift that is no longer there.)"
