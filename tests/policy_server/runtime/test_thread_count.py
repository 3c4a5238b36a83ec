"""How many threads the denoiser runs with when nobody says."""

from pathlib import Path

import pytest

from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.thread_count import choose_thread_count, fastest_thread_count
from tests.synthetic_bundle import write_synthetic_bundle


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [({1: 1.0, 2: 0.5}, 2), ({1: 1.0, 2: 0.95}, 1), ({1: 1.0, 2: 1.5}, 1), ({1: 4.0, 2: 2.1, 3: 2.0, 4: 2.3}, 2)],
)
def test_a_core_is_taken_only_for_a_tenth_of_the_time(seconds: dict[int, float], chosen: int) -> None:
    assert choose_thread_count(seconds) == chosen


def test_a_number_within_the_bounds_is_measured(tmp_path: Path) -> None:
    bundle = load_bundle(write_synthetic_bundle(tmp_path / "bundle"))
    assert fastest_thread_count(bundle, most=2) in (1, 2)
    assert fastest_thread_count(bundle, most=1) == 1
