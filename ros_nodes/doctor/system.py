"""Reads this machine's state from /proc and /sys, below a root that tests replace."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class System:
    """A file tree with ``proc``, ``sys`` and ``dev`` below ``root``."""

    root: Path = Path("/")

    def read(self, relative: str) -> str | None:
        """The stripped text of a file, e.g. ``proc/version``; None when there is none or it may not be read."""
        try:
            return (self.root / relative).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None

    def glob(self, pattern: str) -> list[Path]:
        """Paths below the root, sorted."""
        return sorted(self.root.glob(pattern))
