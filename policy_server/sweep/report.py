"""A part of a Markdown page that a command writes; what others wrote around it stays."""

import csv
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from policy_server.runtime.errors import PolicyError
from policy_server.runtime.whole_file import write_whole


class NothingDoneError(PolicyError):
    """A report was asked for, and no run is done."""


def write_section(file: Path, name: str, title: str, lines: Iterable[str]) -> None:
    """Put ``lines`` between the section's two marker lines in ``file``; a section that is new is appended, a new page gets ``title``."""
    begin = f"<!-- {name}: written by a command from here on; write above, or below its end -->"
    end = f"<!-- end of {name} -->"
    page = file.read_text(encoding="utf-8") if file.exists() else f"# {title}\n"
    section = "\n".join([begin, "", *lines, end])
    before, found, rest = page.partition(begin)
    page = f"{before}{section}{rest.partition(end)[2]}" if found else f"{page.rstrip()}\n\n{section}\n"
    write_whole(file, page)


def paragraph(*sentences: str) -> Iterator[str]:
    """Lines of at most 120 characters, and an empty one after them."""
    yield from textwrap.wrap(" ".join(sentences), 120, break_long_words=False, break_on_hyphens=False)
    yield ""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """A Markdown table, and an empty line after it."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(str(cell) for cell in row)} |"
    yield ""


def write_csv(file: Path, rows: Sequence[Any]) -> None:
    """Dataclass instances of one kind, a column per field; floats with six significant digits. No rows: no file."""
    if not rows:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([field.name for field in fields(rows[0])])
        for row in rows:
            writer.writerow([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in astuple(row)])
