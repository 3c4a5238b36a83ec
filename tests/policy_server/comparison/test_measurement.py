from pathlib import Path

import pytest

from policy_server.comparison.measurement import read_loss_curve, read_measurement, write_measurement
from tests.policy_server.comparison.small_comparison import measured


def test_the_last_tenth_and_the_median_step_count(tmp_path: Path) -> None:
    rows = [
        f"{step},{loss},{seconds}" for step, loss, seconds in ((10, 9, 5.0), (80, 3, 0.1), (90, 2, 0.1), (100, 1, 0.2))
    ]
    (tmp_path / "loss.csv").write_text("\n".join(["step,loss,seconds", *rows]) + "\n")
    curve = read_loss_curve(tmp_path)
    assert curve.final_loss == 1.0
    assert curve.step_s == pytest.approx(0.15)
    assert curve.training_s == pytest.approx(1.35 * 100)


def test_a_measurement_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_measurement(tmp_path, measured(0.25, error=0.1))
    assert read_measurement(tmp_path) == measured(0.25, error=0.1)
