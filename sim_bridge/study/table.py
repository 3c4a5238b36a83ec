"""The results table: one row per finished cell, as CSV (which a later session goes on from) and as parquet."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from policy_server.runtime.errors import PolicyError
from policy_server.runtime.whole_file import whole_file
from sim_bridge.intervals import success_rate
from sim_bridge.study.result import CellResult

_DERIVED = ("episodes", "successes", "success_rate", "low", "high", "completed_episodes", "contextual_success_rate")


class TableError(PolicyError):
    """A results table cannot be read."""


def table_file(results: Path, name: str) -> Path:
    return results / f"{name}.csv"


def write_table(file: Path, results: Iterable[CellResult]) -> None:
    """Write ``file`` and, beside it, the same as parquet; each whole or not at all."""
    rows = [_row(result) for result in results]
    names = [*(field.name for field in fields(CellResult)), *_DERIVED]
    with whole_file(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    columns = {name: pa.array([row[name] for row in rows], _arrow_type(name)) for name in names}
    with whole_file(file.with_suffix(".parquet")) as temporary:
        pq.write_table(pa.table(columns), temporary)


def read_table(file: Path) -> list[CellResult]:
    """The rows of a table; none when there is no such file. Raises TableError."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        try:
            return [_result(row) for row in csv.DictReader(stream)]
        except (KeyError, TypeError, ValueError) as error:
            raise TableError(
                f"'{file}' is no results table of this version ({error!r}): restore or delete it"
            ) from None


def _row(result: CellResult) -> dict[str, Any]:
    """Everything of a result, and what follows from it for those who read the table without this package."""
    rate = success_rate(result.successes, result.episodes)
    completed = result.completed.count("1")
    return asdict(result) | {
        "episodes": rate.episodes,
        "successes": rate.successes,
        "success_rate": round(rate.successes / rate.episodes, 4),
        "low": round(rate.interval[0], 4),
        "high": round(rate.interval[1], 4),
        "completed_episodes": completed if result.completed else None,
        "contextual_success_rate": round(rate.successes / completed, 4) if completed else None,
    }


def _result(row: dict[str, str]) -> CellResult:
    read: dict[type, Any] = {int: int, float: float, str: str}
    # Columns that came later have a default: a table of before them is read too.
    named = [field for field in fields(CellResult) if field.name in row or field.default is MISSING]
    return CellResult(**{field.name: read[_type(field.type)](row[field.name]) for field in named})


def _type(annotation: Any) -> type:
    return annotation if isinstance(annotation, type) else {"int": int, "float": float, "str": str}[annotation]


def _arrow_type(name: str) -> pa.DataType:
    types = {field.name: _type(field.type) for field in fields(CellResult)}
    integers = ("episodes", "successes", "completed_episodes")
    kind = types.get(name, int if name in integers else float)
    return {int: pa.int64(), float: pa.float64(), str: pa.string()}[kind]


def merge(*sources: Sequence[CellResult]) -> dict[str, CellResult]:
    """Results by hash; later sources replace earlier ones."""
    return {result.hash: result for source in sources for result in source}
