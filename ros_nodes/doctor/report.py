"""What the doctor prints at its end, and the file it writes."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from policy_server.runtime.configuration import to_plain
from policy_server.runtime.errors import ConfigurationError
from ros_nodes.doctor.finding import Finding, Level
from ros_nodes.doctor.settings import DoctorSettings

_WORDS = {Level.OK: "ok", Level.WARN: "to look at", Level.FAIL: "to mend", Level.SKIP: "skipped"}


def summary(findings: Sequence[Finding], file: Path | None) -> str:
    """The last line: counts, and where the file is."""
    counts = Counter(finding.level for finding in findings)
    said = ", ".join(f"{counts[level]} {word}" for level, word in _WORDS.items())
    return f"{said}; {f'all of it is in {file}' if file else '--json FILE writes it down'}"


def exit_status(findings: Sequence[Finding]) -> int:
    """1 as soon as something fails."""
    return int(any(finding.level == Level.FAIL for finding in findings))


def write_json(file: Path, by_check: Mapping[str, Sequence[Finding]], settings: DoctorSettings) -> None:
    """Everything that was found, with the settings. Raises ConfigurationError when the file cannot be written."""
    content = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": to_plain(settings),
        "failed": sum(finding.level == Level.FAIL for findings in by_check.values() for finding in findings),
        "findings": [
            {"check": check, **to_plain(finding), "level": str(finding.level)}
            for check, findings in by_check.items()
            for finding in findings
        ],
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"'{file}' cannot be written ({error.strerror}): name another file with --json"
        ) from None
