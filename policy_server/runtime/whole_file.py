"""Files that are there whole or not at all, whenever a process ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """A path beside ``file`` to write to; what is there takes its place when the block ends, and is removed when the block raises."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_whole(file: Path, content: str | bytes) -> None:
    """``content`` as ``file``, text in UTF-8."""
    with whole_file(file) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
