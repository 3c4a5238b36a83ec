"""A finding is one line, and an error's own mend becomes the finding's."""

import pytest

from policy_server.runtime.errors import ConfigurationError
from ros_nodes.doctor.finding import Level, fail_with, ok, warn


def test_a_finding_is_one_line_with_its_mend_at_the_end() -> None:
    assert ok("clock source", "tsc").line() == "ok    clock source: tsc"
    assert warn("hand", "does not answer", "plug it in").line() == "warn  hand: does not answer -> plug it in"


@pytest.mark.parametrize(
    ("message", "found", "mend"),
    [
        ("no file 'x.yaml': give the path", "no file 'x.yaml'", "give the path"),
        ("x: unknown key 'a'; did you mean 'b'?", "x: unknown key 'a'", "did you mean 'b'?"),
        ("it broke", "it broke", "see docs/troubleshooting.md"),
    ],
)
def test_an_error_is_split_into_what_was_found_and_its_mend(message: str, found: str, mend: str) -> None:
    finding = fail_with("thing", ConfigurationError(message))
    assert (finding.level, finding.found, finding.mend) == (Level.FAIL, found, mend)
