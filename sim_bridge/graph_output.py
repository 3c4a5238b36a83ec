"""What the nodes of a graph print: all of it to a file, episodes and warnings to whoever watches."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ros_nodes.start import LineSink

_EPISODE_LINE = re.compile(r"^episode \d+(/\d+)? ")
_NOTICE = re.compile(r"\[(WARN|ERROR|FATAL)\]")


@contextmanager
def shown_and_logged(file: Path, *, show: bool = True) -> Iterator[LineSink]:
    """Within, a function to be called with each node's name and line."""
    with file.open("w", encoding="utf-8") as log:

        def on_line(node: str, line: str) -> None:
            log.write(f"[{node}] {line}\n")
            log.flush()
            if show and _EPISODE_LINE.match(line):
                print(line, flush=True)
            elif show and _NOTICE.search(line):
                print(f"[{node}] {line}", file=sys.stderr, flush=True)

        yield on_line
