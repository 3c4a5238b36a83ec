"""A bundle takes over only where it sees and moves what the running one does."""

from pathlib import Path

import pytest

from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.errors import BundleError
from policy_server.runtime.succession import check_succession
from tests.synthetic_bundle import write_synthetic_bundle

WRIST = ("wrist", 48, 64)
FRONT = ("front", 96, 96)


def test_another_memory_another_chunk_and_other_weights_may_take_over(tmp_path: Path) -> None:
    running = load_bundle(write_synthetic_bundle(tmp_path / "running"))
    new = write_synthetic_bundle(
        tmp_path / "new", context_length=9, stride_ticks=3, past_steps=0, future_steps=9, noise_gain=0.5
    )
    check_succession(running, load_bundle(new))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"task": "press_count"}, "task press_count instead of reach_cued"),
        ({"rate_hz": 12.5}, "rate 12.5 Hz instead of 10 Hz"),
        ({"cameras": (("front", 48, 64),)}, "cameras front 64 x 48 instead of front 96 x 96"),
        ({"cameras": (FRONT, WRIST)}, "cameras front 96 x 96, wrist 64 x 48 instead of front 96 x 96"),
        ({"cameras": ()}, "cameras none instead of front 96 x 96"),
        ({"features": ("lamp_red",)}, "features seen lamp_red instead of none"),
        ({"task": "press_count", "rate_hz": 5.0}, "task press_count .*; rate 5 Hz"),
    ],
)
def test_what_differs_is_named_with_both_values(tmp_path: Path, changes: dict[str, object], complaint: str) -> None:
    running = load_bundle(write_synthetic_bundle(tmp_path / "running"))
    new = load_bundle(write_synthetic_bundle(tmp_path / "new", **changes))
    with pytest.raises(BundleError, match=rf"cannot take over .*{complaint}.*; start the graph anew with it"):
        check_succession(running, new)


def test_the_running_bundle_does_not_succeed_itself(tmp_path: Path) -> None:
    running = load_bundle(write_synthetic_bundle(tmp_path / "running"))
    with pytest.raises(BundleError, match="is the one that runs"):
        check_succession(running, running)
