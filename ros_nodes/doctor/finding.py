"""What a check found: one line, a level, and how to mend it."""

from dataclasses import dataclass
from enum import StrEnum

from policy_server.runtime.errors import PolicyError


class Level(StrEnum):
    """``ok``; ``warn``: it may work; ``fail``: it will not; ``skip``: it could not be looked at, or does not apply."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ``name`` says what, ``found`` the value with its unit, ``mend`` what to do about it."""

    name: str
    level: Level
    found: str
    mend: str = ""

    def line(self) -> str:
        """The finding as the command prints it."""
        mend = f" -> {self.mend}" if self.mend else ""
        return f"{self.level:<4}  {self.name}: {self.found}{mend}"


def ok(name: str, found: str) -> Finding:
    return Finding(name, Level.OK, found)


def warn(name: str, found: str, mend: str) -> Finding:
    return Finding(name, Level.WARN, found, mend)


def fail(name: str, found: str, mend: str) -> Finding:
    return Finding(name, Level.FAIL, found, mend)


def skip(name: str, found: str, mend: str = "") -> Finding:
    return Finding(name, Level.SKIP, found, mend)


def fail_with(name: str, error: PolicyError) -> Finding:
    """An error of ours as a finding: its message ends with the mend, after the last colon or semicolon."""
    message = str(error)
    cut = max(message.rfind(": "), message.rfind("; "))
    if cut < 0:
        return fail(name, message, "see docs/troubleshooting.md")
    return fail(name, message[:cut], message[cut + 2 :])
